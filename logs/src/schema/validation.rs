//! Validation rules for strings. They tell apart log types whose records have the same fields.

use std::net::IpAddr;

use super::file::ValidateFile;

/// The rules of one field. A value must satisfy all of them.
#[derive(Debug)]
pub(crate) struct Validation {
    /// The only accepted texts; empty for no such rule.
    allow: Vec<String>,
    deny: Vec<String>,
    /// The text must have one of these suffixes; empty for no such rule.
    ends_with: Vec<String>,
    ip: Option<Family>,
    cidr: Option<Family>,
}

/// The versions of IP that an address may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Any,
    V4,
    V6,
}

impl Validation {
    /// Compiles `validate`.
    ///
    /// # Errors
    /// What is wrong.
    pub(super) fn compile(file: &ValidateFile) -> Result<Self, String> {
        let validation = Self {
            allow: file.allow.clone(),
            deny: file.deny.clone(),
            ends_with: file.ends_with.clone(),
            ip: file.ip.as_deref().map(Family::named).transpose()?,
            cidr: file.cidr.as_deref().map(Family::named).transpose()?,
        };
        let lists = [&validation.allow, &validation.deny, &validation.ends_with];
        if lists.iter().all(|list| list.is_empty())
            && validation.ip.is_none()
            && validation.cidr.is_none()
        {
            return Err("give allow, deny, endsWith, ip or cidr".into());
        }
        Ok(validation)
    }

    pub(super) fn accepts(&self, text: &str) -> bool {
        let is = |one: &String| one == text;
        (self.allow.is_empty() || self.allow.iter().any(is))
            && !self.deny.iter().any(is)
            && (self.ends_with.is_empty() || self.ends_with.iter().any(|end| text.ends_with(end)))
            && self.ip.is_none_or(|family| family.has(text))
            && self.cidr.is_none_or(|family| family.has_network(text))
    }
}

impl Family {
    fn named(name: &str) -> Result<Self, String> {
        match name {
            "any" => Ok(Self::Any),
            "ipv4" => Ok(Self::V4),
            "ipv6" => Ok(Self::V6),
            other => Err(format!(
                "`{other}` is no kind of address: use any, ipv4 or ipv6"
            )),
        }
    }

    fn has(self, text: &str) -> bool {
        self.address(text).is_some()
    }

    fn address(self, text: &str) -> Option<IpAddr> {
        text.parse().ok().filter(|address: &IpAddr| match self {
            Self::Any => true,
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        })
    }

    fn has_network(self, text: &str) -> bool {
        let Some((address, length)) = text.split_once('/') else {
            return false;
        };
        let Some(address) = self.address(address) else {
            return false;
        };
        let most = if address.is_ipv4() { 32 } else { 128 };
        length.bytes().all(|byte| byte.is_ascii_digit())
            && length.parse::<u8>().is_ok_and(|length| length <= most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_networks_are_told_from_other_texts() {
        for (rule, good, bad) in [
            ("ip any", "192.0.2.1", "192.0.2.1/24"),
            ("ip any", "2001:db8::1", "example.com"),
            ("ip ipv4", "192.0.2.1", "2001:db8::1"),
            ("ip ipv6", "::ffff:192.0.2.1", "192.0.2.1"),
            ("ip any", "::", ""),
            ("ip ipv4", "0.0.0.0", "192.0.2.256"),
            ("cidr any", "10.0.0.0/8", "10.0.0.0"),
            ("cidr any", "2001:db8::/128", "2001:db8::/129"),
            ("cidr ipv4", "10.0.0.1/32", "10.0.0.1/33"),
            ("cidr ipv4", "0.0.0.0/0", "0.0.0.0/+1"),
            ("cidr ipv6", "::/0", "10.0.0.0/8"),
            ("cidr any", "10.0.0.0/8", "10.0.0.0/"),
        ] {
            let (kind, family) = rule.split_once(' ').unwrap();
            let mut file = ValidateFile::default();
            let option = match kind {
                "ip" => &mut file.ip,
                _ => &mut file.cidr,
            };
            *option = Some(family.into());
            let validation = Validation::compile(&file).unwrap();
            assert!(validation.accepts(good), "{rule} refuses {good}");
            assert!(!validation.accepts(bad), "{rule} accepts {bad}");
        }
    }

    #[test]
    fn all_rules_hold_at_once() {
        let validation = Validation::compile(&ValidateFile {
            allow: vec!["10.0.0.1".into(), "x".into()],
            ip: Some("any".into()),
            ..ValidateFile::default()
        })
        .unwrap();
        assert!(validation.accepts("10.0.0.1"));
        assert!(!validation.accepts("x"));
        assert!(!validation.accepts("10.0.0.2"));
    }
}
