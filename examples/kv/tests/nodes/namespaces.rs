//! Nodes on machines of their own, as far as the network goes: each in a network namespace, all of
//! them and the clients joined by a bridge. What one machine sends to another can be cut off, in one
//! direction only if need be.
//!
//! A direction is cut by a wrong hardware address for the other machine: packets are sent, and nobody
//! takes them. Nobody is told, as with a real cable.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::panic::resume_unwind;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::processes::Nodes;
use super::require::skip;

const NOBODY: &str = "02:00:00:00:00:ff";
const PEER_PORT: u16 = 7000;
const CLIENT_PORT: u16 = 6379;

/// The namespaces; they are removed when this is dropped.
pub struct Network {
    name: String,
    nodes: usize,
}

impl Network {
    /// Connects so many machines. `None` if that is not allowed: the test says that it is skipped.
    pub fn new(nodes: usize) -> Option<Network> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let network = Network { name: format!("kv-{}-{number}", std::process::id()), nodes };
        if !network.set_up() {
            skip("network namespaces cannot be made here (that takes root on Linux, and `ip`)");
            return None;
        }
        Some(network)
    }

    fn set_up(&self) -> bool {
        let hub = self.hub();
        let steps = [
            format!("netns add {hub}"),
            format!("-n {hub} link set lo up"),
            format!("-n {hub} link add bridge type bridge"),
            format!("-n {hub} addr add {}/24 dev bridge", address(254)),
            format!("-n {hub} link set bridge up"),
        ];
        let machines = (1..=self.nodes).flat_map(|id| {
            let machine = self.machine(id);
            let (ip, hardware) = (address(id), hardware(id));
            [
                format!("netns add {machine}"),
                format!("link add to{id} netns {hub} type veth peer name net address {hardware} netns {machine}"),
                format!("-n {hub} link set to{id} master bridge up"),
                format!("-n {machine} link set lo up"),
                format!("-n {machine} addr add {ip}/24 dev net"),
                format!("-n {machine} link set net up"),
            ]
        });
        steps.into_iter().chain(machines).all(|step| ip(&step)) && self.connect_all()
    }

    fn connect_all(&self) -> bool {
        (1..=self.nodes).all(|from| {
            (1..=self.nodes).filter(|to| *to != from).all(|to| self.direct(from, to, &hardware(to)))
        })
    }

    fn direct(&self, from: usize, to: usize, hardware: &str) -> bool {
        let (machine, to) = (self.machine(from), address(to));
        ip(&format!("-n {machine} neigh replace {to} lladdr {hardware} dev net nud permanent"))
    }

    /// What one machine sends does not reach the other from here on.
    pub fn cut(&self, from: usize, to: usize) {
        assert!(self.direct(from, to, NOBODY));
    }

    /// A machine's cable is pulled; clients do not reach it either.
    pub fn unplug(&self, id: usize) {
        assert!(ip(&format!("-n {} link set to{id} down", self.hub())));
    }

    /// Everything is as it was in the beginning.
    pub fn heal(&self) {
        for id in 1..=self.nodes {
            assert!(ip(&format!("-n {} link set to{id} up", self.hub())));
        }
        assert!(self.connect_all());
    }

    /// Gives each node a machine. To be called before they run.
    pub fn settle(&self, nodes: &mut Nodes) {
        for id in 1..=self.nodes {
            let at = |port| SocketAddr::from((address(id), port));
            nodes.set_addresses(id, at(CLIENT_PORT), at(PEER_PORT));
            let inside = ["ip", "netns", "exec", &self.machine(id)].map(str::to_owned);
            nodes.set_wrapper(id, inside.to_vec());
        }
    }

    /// Does something where the clients are.
    pub fn run<F: Future<Output = ()>>(&self, test: impl FnOnce() -> F + Send) {
        let namespace = File::open(format!("/run/netns/{}", self.hub())).unwrap();
        let inside = || {
            // A namespace is a thread's, and those that it starts are in it too.
            let network = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(namespace.as_fd(), network).unwrap();
            tokio::runtime::Runtime::new().unwrap().block_on(test());
        };
        let ended = std::thread::scope(|scope| scope.spawn(inside).join());
        ended.unwrap_or_else(|panic| resume_unwind(panic));
    }

    fn hub(&self) -> String {
        format!("{}-hub", self.name)
    }

    fn machine(&self, id: usize) -> String {
        format!("{}-{id}", self.name)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for id in 1..=self.nodes {
            ip(&format!("netns del {}", self.machine(id)));
        }
        ip(&format!("netns del {}", self.hub()));
    }
}

fn ip(arguments: &str) -> bool {
    let output = Command::new("ip").args(arguments.split(' ')).output();
    output.is_ok_and(|output| output.status.success())
}

fn address(id: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, id as u8)
}

fn hardware(id: usize) -> String {
    format!("02:00:00:00:00:{id:02x}")
}
