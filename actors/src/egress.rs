//! Where alerts must not go. An output is entered by a user, and posted to by the daemon, which reaches addresses that the user may not: above all those at
//! which clouds give out the credentials of a machine.
//!
//! The address that is connected to decides, after the name was looked up: a name can point anywhere.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Networks that alerts are not sent to; clones share the list.
#[derive(Debug, Clone)]
pub struct Egress {
    denied: Arc<[IpNet]>,
}

impl Egress {
    /// Without these networks.
    #[must_use]
    pub fn without(denied: Vec<IpNet>) -> Self {
        Self {
            denied: denied.into(),
        }
    }

    fn refusal(&self, address: IpAddr) -> Option<String> {
        let address = address.to_canonical();
        let denied = self
            .denied
            .iter()
            .find(|denied| denied.contains(&address))?;
        Some(format!(
            "{address} lies in {denied}, to which this node sends no alerts (alerts.denied_networks)"
        ))
    }

    /// Whether an address with a number for its host may be called. A name is looked at when it is looked up.
    ///
    /// # Errors
    /// The reason, fit for a user.
    pub(crate) fn check(&self, url: &reqwest::Url) -> Result<(), String> {
        let host = url.host_str().unwrap_or_default();
        let number = host.trim_start_matches('[').trim_end_matches(']').parse();
        match number.ok().and_then(|number| self.refusal(number)) {
            Some(reason) => Err(reason),
            None => Ok(()),
        }
    }
}

impl Resolve for Egress {
    fn resolve(&self, name: Name) -> Resolving {
        let egress = self.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let mut refused = None;
            let allowed: Vec<SocketAddr> = found
                .filter(|address| match egress.refusal(address.ip()) {
                    None => true,
                    Some(reason) => {
                        refused = Some(reason);
                        false
                    }
                })
                .collect();
            match refused {
                Some(reason) if allowed.is_empty() => {
                    let error = format!("{}: {reason}", name.as_str());
                    Err(io::Error::new(io::ErrorKind::PermissionDenied, error).into())
                }
                _ => Ok(Box::new(allowed.into_iter()) as Addrs),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn egress() -> Egress {
        let denied = ["169.254.0.0/16", "fe80::/10", "127.0.0.0/8", "::1/128"];
        Egress::without(denied.iter().map(|net| net.parse().unwrap()).collect())
    }

    #[test]
    fn an_address_of_a_denied_network_is_refused_in_each_of_its_forms() {
        for url in [
            "http://169.254.169.254/latest/meta-data",
            "http://2852039166/latest",    // the same as one number
            "http://0xa9.0xfe.0xa9.0xfe/", // and in hexadecimal digits
            "http://[::ffff:169.254.169.254]/",
            "http://[fe80::1]:8080/",
        ] {
            let url = reqwest::Url::parse(url).unwrap();
            assert!(egress().check(&url).is_err(), "{url}");
        }
        for url in [
            "https://hooks.example/",
            "http://10.0.0.7/",
            "http://[2001:db8::1]/",
        ] {
            let url = reqwest::Url::parse(url).unwrap();
            assert_eq!(egress().check(&url), Ok(()), "{url}");
        }
    }

    #[tokio::test]
    async fn a_name_that_points_into_a_denied_network_is_refused_when_it_is_looked_up() {
        let refused = egress().resolve("localhost".parse().unwrap()).await;
        let refused = refused.err().unwrap().to_string();
        assert!(refused.contains("alerts.denied_networks"), "{refused}");
        let open = Egress::without(Vec::new());
        assert!(open.resolve("localhost".parse().unwrap()).await.is_ok());
    }
}
