//! Machines with their own network interfaces: a network namespace for each node, all connected to one bridge. Packets from one node to
//! another can be dropped, completely or partly, in each direction.

use std::net::Ipv4Addr;
use std::process::Command;

use crate::{Failure, Result};

/// Number of machines with an interface. Replaced nodes get new machines.
const MACHINES: u8 = 8;
/// Host part of this process's address on the bridge.
const OWN: u8 = 254;

/// The namespaces of one run. Dropping the value removes them.
#[derive(Debug)]
pub struct Wires {
    /// Number of the run, which keeps concurrent runs apart.
    run: u8,
}

/// Runs a tool. If the tool is missing, this machine cannot create the fault.
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
    /// Creates the namespaces and the bridge.
    ///
    /// # Errors
    /// This machine permits no network namespaces, or lacks `ip` or `nft`.
    pub fn lay() -> Result<Self> {
        // The process id keeps concurrent runs apart.
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

    /// The address of this process, as seen from the machines.
    #[must_use]
    pub fn own(&self) -> Ipv4Addr {
        self.at(OWN)
    }

    /// Drops all packets of `from` to `to`.
    ///
    /// # Errors
    /// The rule cannot be created.
    pub fn cut(&self, from: u8, to: u8) -> Result<()> {
        self.rule(to, &format!("ip saddr {} drop", self.address(from)))
    }

    /// Drops a percentage of the packets of `from` to `to`.
    ///
    /// # Errors
    /// The rule cannot be created.
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

    /// Removes all drop rules.
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
        // Removing a missing namespace fails, which is harmless.
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
