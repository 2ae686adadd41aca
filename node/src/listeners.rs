//! The listeners of a node besides the one for other nodes: HTTP for logs, health and metrics, and the admin socket. How many callers each may have, and
//! for how long.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use panther_detections::engine::is_of_an_engine;
use panther_listen::accept::Tcp;
use panther_listen::{Accepted, Http, Listen, PlaceLimits, Places, Protocol, descriptors};
use tokio::net::{TcpListener, TcpSocket, UnixListener, UnixStream};
use tokio::sync::watch;

/// Connections to the admin socket at one time.
const ADMINS: usize = 1_024;
/// How long a connection that has just come keeps its place, while its first request is on the way.
const GRACE: Duration = Duration::from_millis(250);
/// Calls of one connection to it at one time.
const CALLS: u32 = 256;
/// How long a caller on this machine may take for its first call. pantherctl and workers connect when they call.
const ADMIN_FIRST: Duration = Duration::from_secs(60);

const HTTP: Http = Http {
    protocol: Protocol::Http1 {
        headers: Duration::from_secs(30),
    },
    first: Duration::from_secs(10),
    life: None,
};

const ADMIN: Http = Http {
    protocol: Protocol::Http2 {
        calls: CALLS,
        call_window: 1 << 20,
        connection_window: 4 << 20,
        ping: Duration::from_secs(30),
    },
    first: ADMIN_FIRST,
    life: None,
};

/// The listeners of a node; clones share sockets and places. They are opened once and served twice: until the node is ready, and after that.
#[derive(Clone)]
pub(crate) struct Listeners {
    admin: Arc<UnixListener>,
    admins: Places,
    http: Option<Arc<TcpListener>>,
    senders: Places,
}

impl Listeners {
    /// `connections` is how many there may be to the HTTP side at one time. Behind a proxy all of them have one address.
    pub(crate) fn new(admin: UnixListener, http: Option<TcpListener>, connections: usize) -> Self {
        let limits = |total| PlaceLimits {
            total,
            per_address: total,
            grace: GRACE,
        };
        Self {
            admin: Arc::new(admin),
            admins: Places::new(limits(ADMINS)),
            http: http.map(Arc::new),
            senders: Places::new(limits(connections)),
        }
    }

    /// The places of each listener, by the name that metrics give it.
    pub(crate) fn places(&self) -> Vec<(&'static str, Places)> {
        vec![
            ("admin", self.admins.clone()),
            ("ingest", self.senders.clone()),
        ]
    }

    /// Whether there is an HTTP side.
    pub(crate) fn has_http(&self) -> bool {
        self.http.is_some()
    }

    /// Serves the admin socket until `closed` says true and the calls under way have ended.
    pub(crate) async fn serve_admin(&self, router: Router, closed: watch::Receiver<bool>) {
        let socket = AdminSocket {
            listener: self.admin.clone(),
            ceiling: descriptors::ceiling(descriptors::ADMIN),
        };
        let ends = closed.clone();
        panther_listen::accept(socket, self.admins.clone(), closed, move |stream, place| {
            let (router, ends) = (router.clone(), ends.clone());
            async move {
                // A call may last for minutes, and many callers of this machine are no attack: no place is taken from them.
                let _kept = place.handle().work();
                ADMIN.serve(stream, &place, router, ends).await;
            }
        })
        .await;
    }

    /// Serves the HTTP side in the same way; at once if there is none.
    pub(crate) async fn serve_http(&self, router: Router, closed: watch::Receiver<bool>) {
        let Some(listener) = &self.http else { return };
        let (socket, ends) = (Tcp::new(listener.clone()), closed.clone());
        panther_listen::accept(
            socket,
            self.senders.clone(),
            closed,
            move |stream, place| {
                let (router, ends) = (router.clone(), ends.clone());
                async move { HTTP.serve(stream, &place, router, ends).await }
            },
        )
        .await;
    }
}

/// The admin socket. Connections of processes that run rules are closed at once, should nothing else have kept them from it: a rule acts for no operator.
struct AdminSocket {
    listener: Arc<UnixListener>,
    ceiling: i64,
}

impl Listen for AdminSocket {
    type Stream = UnixStream;

    async fn next(&mut self) -> io::Result<Accepted<UnixStream>> {
        loop {
            let (stream, _) = self.listener.accept().await?;
            if !runs_rules(&stream) {
                return Ok(Accepted {
                    descriptor: Some((i64::from(stream.as_raw_fd()), self.ceiling)),
                    stream,
                    address: None,
                });
            }
        }
    }
}

/// Whether the caller descends from an engine of this daemon.
fn runs_rules(caller: &UnixStream) -> bool {
    let process = caller.peer_cred().ok().and_then(|peer| peer.pid());
    let refused = process.is_some_and(is_of_an_engine);
    if refused {
        tracing::error!(
            process,
            "a process that runs rules called the admin socket and was turned away"
        );
    }
    refused
}

/// Connections that the machine keeps for the accept loop. More of them at once lose their first packet, and wait a second or more to send it again.
const BACKLOG: u32 = 4_096;

/// Opens a TCP socket; its true address where the port was left to the machine.
///
/// # Errors
/// The machine does not give it.
pub(crate) fn listen_tcp(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A node that starts again takes its port though old connections linger.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

#[cfg(test)]
mod tests {
    use panther_detections::engine::{Engine, EngineSettings};
    use panther_detections::pack::Pack;

    use super::*;

    const CALLER: &str = "import socket\ncaller = socket.socket(socket.AF_UNIX)\ncaller.connect(PATH)\ncaller.settimeout(20)\nclosed = caller.recv(1) == b''\n";

    /// A pack with a rule that calls the socket while it is loaded.
    fn caller(folder: &std::path::Path, socket: &std::path::Path) -> Pack {
        let source = CALLER.replace("PATH", &format!("{socket:?}"));
        let rule = "AnalysisType: rule\nRuleID: r\nFilename: r.py\nLogTypes: [T]\nSeverity: Low\n";
        std::fs::write(folder.join("r.yml"), rule).unwrap();
        let checked = "if not closed:\n    raise RuntimeError('it was served')\ndef rule(event):\n    return True\n";
        std::fs::write(folder.join("r.py"), source + checked).unwrap();
        Pack::read(folder).unwrap()
    }

    #[tokio::test]
    async fn a_process_that_runs_rules_is_turned_away_and_others_are_served() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("admin.sock");
        let mut listener = AdminSocket {
            listener: Arc::new(UnixListener::bind(&socket).unwrap()),
            ceiling: i64::MAX,
        };
        let served = tokio::spawn(async move { listener.next().await.map(drop) });
        std::fs::create_dir(folder.path().join("pack")).unwrap();
        let pack = caller(&folder.path().join("pack"), &socket);
        // As on a kernel that keeps no rule from anything.
        let settings = EngineSettings {
            confined: false,
            ..EngineSettings::default()
        };
        let engine = Engine::start(settings, &pack).await.unwrap();
        assert_eq!(engine.load_report().detections[0].error, None);
        assert!(!served.is_finished());
        let _own = UnixStream::connect(&socket).await.unwrap();
        served.await.unwrap().unwrap();
        engine.stop().await;
    }
}
