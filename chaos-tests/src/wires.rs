//! Machines with network cards of their own: a network namespace for each node, all of them on one bridge. What one node sends to another can be dropped, wholly or in part, either way.

use std::net::Ipv4Addr;
use std::process::Command;

use crate::{Failure, Result};

/// Machines that have a card: nodes that are replaced get new ones.
const MACHINES: u8 = 8;
/// What this process has on the bridge.
const OWN: u8 = 254;

/// The namespaces of one run; removed when this is dropped.
#[derive(Debug)]
pub struct Wires {
    /// The run's own number, so that two of them do not meet.
    run: u8,
}

/// Runs a tool, whose absence means that this machine cannot make the fault.
fn tool(name: &str, words: &[&str]) -> Result<()> {
    let done = Command::new(name)
        .args(words)
        .output()
        .map_err(|error| Failure::CannotRun(format!("{name} cannot be run: {error}")))?;
    if done.status.success() {
        return Ok(());
    }
    Err(Failure::CannotRun(format!(
        "{name} {}: {}",
        words.join(" "),
        String::from_utf8_lossy(&done.stderr).trim()
    )))
}

impl Wires {
    /// Lays them.
    ///
    /// # Errors
    /// This machine has no network namespaces for us, or lacks `ip` or `nft`.
    pub fn lay() -> Result<Self> {
        // The process's number keeps runs apart that go on at the same time.
        let run = u8::try_from(std::process::id() % 250).unwrap_or(1);
        let wires = Self { run };
        wires.remove();
        let bridge = wires.bridge();
        tool("ip", &["link", "add", &bridge, "type", "bridge"])?;
        let own = format!("{}/24", wires.at(OWN));
        tool("ip", &["address", "add", &own, "dev", &bridge])?;
        tool("ip", &["link", "set", &bridge, "up"])?;
        for machine in 1..=MACHINES {
            wires.connect(machine)?;
        }
        Ok(wires)
    }

    fn connect(&self, machine: u8) -> Result<()> {
        let (space, bridge) = (self.space(machine), self.bridge());
        let (near, far) = (format!("{space}h"), format!("{space}n"));
        let address = format!("{}/24", self.address(machine));
        tool("ip", &["netns", "add", &space])?;
        tool(
            "ip",
            &["link", "add", &near, "type", "veth", "peer", "name", &far],
        )?;
        tool("ip", &["link", "set", &far, "netns", &space])?;
        tool("ip", &["link", "set", &near, "master", &bridge, "up"])?;
        let inside = |words: &[&str]| tool("ip", &[&["netns", "exec", &space], words].concat());
        inside(&["ip", "link", "set", "lo", "up"])?;
        inside(&["ip", "address", "add", &address, "dev", &far])?;
        inside(&["ip", "link", "set", &far, "up"])?;
        let rules = [
            "add table ip chaos",
            "add chain ip chaos heard { type filter hook input priority 0 ; }",
        ];
        rules.iter().try_for_each(|rule| inside(&["nft", rule]))
    }

    fn bridge(&self) -> String {
        format!("pc{}br", self.run)
    }

    /// The namespace of a machine.
    #[must_use]
    pub fn space(&self, machine: u8) -> String {
        format!("pc{}m{machine}", self.run)
    }

    fn at(&self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 213, self.run, host)
    }

    /// The address of a machine.
    #[must_use]
    pub fn address(&self, machine: u8) -> Ipv4Addr {
        self.at(machine)
    }

    /// The address at which machines reach this process.
    #[must_use]
    pub fn own(&self) -> Ipv4Addr {
        self.at(OWN)
    }

    /// What `from` sends no longer comes to `to`.
    ///
    /// # Errors
    /// The rule cannot be made.
    pub fn cut(&self, from: u8, to: u8) -> Result<()> {
        self.rule(to, &format!("ip saddr {} drop", self.address(from)))
    }

    /// Of what `from` sends only a part comes to `to`.
    ///
    /// # Errors
    /// The rule cannot be made.
    pub fn lose(&self, percent: u8, from: u8, to: u8) -> Result<()> {
        let rule = format!(
            "ip saddr {} numgen random mod 100 < {percent} drop",
            self.address(from)
        );
        self.rule(to, &rule)
    }

    fn rule(&self, at: u8, rule: &str) -> Result<()> {
        let rule = format!("add rule ip chaos heard {rule}");
        tool("ip", &["netns", "exec", &self.space(at), "nft", &rule])
    }

    /// Everything reaches everybody again.
    ///
    /// # Errors
    /// The rules cannot be removed.
    pub fn mend(&self) -> Result<()> {
        (1..=MACHINES).try_for_each(|machine| {
            let flush = "flush chain ip chaos heard";
            let space = self.space(machine);
            tool("ip", &["netns", "exec", &space, "nft", flush])
        })
    }

    fn remove(&self) {
        // What is not there cannot be removed, and need not be.
        for machine in 1..=MACHINES {
            let _ = tool("ip", &["link", "del", &format!("{}h", self.space(machine))]);
            let _ = tool("ip", &["netns", "del", &self.space(machine)]);
        }
        let _ = tool("ip", &["link", "del", &self.bridge()]);
    }
}

impl Drop for Wires {
    fn drop(&mut self) {
        self.remove();
    }
}
