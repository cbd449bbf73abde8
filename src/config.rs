//! What a node is told before it starts.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::Arc;

use quorate_core::{NodeId, Protocol, Settings, StateMachine};
use quorate_storage::StoreOptions;

use crate::error::{ConfigError, StartError};
use crate::net::{TcpTransport, Transport};
use crate::node::Node;

/// How many clients are served at once and how much is held for them, if nothing else is said.
const MAX_CLIENTS: usize = 4096;
const CLIENT_BYTES: usize = 256 << 20;

/// How fast snapshots are fetched, in bytes per second.
const SNAPSHOT_RATE: u64 = 16 << 20;

/// How large a recording may become, in bytes.
const RECORD_BYTES: u64 = 1 << 30;

/// Describes a node, checks the description, and starts it. See [`Node::builder`].
#[must_use = "a builder does nothing until start() is called and awaited"]
pub struct Builder<P, S, M = DefaultMachine> {
    given: Given,
    machine: M,
    node: PhantomData<fn() -> (P, S)>,
}

/// What was said of a node so far, but for its state machine.
struct Given {
    id: Option<NodeId>,
    members: Vec<(NodeId, String)>,
    data_dir: Option<PathBuf>,
    cluster: String,
    settings: Settings,
    segment_bytes: Option<u64>,
    snapshot_rate: u64,
    bootstrap: bool,
    listen: Option<String>,
    max_clients: usize,
    client_bytes: usize,
    transport: Arc<dyn Transport>,
    record_to: Option<PathBuf>,
    record_bytes: u64,
}

/// Makes the state machine of a node that was given none: its type's default.
#[derive(Clone, Copy, Debug, Default)]
pub struct DefaultMachine;

/// The state machine in its initial state, which must be the same on all members.
#[derive(Clone, Copy, Debug)]
pub struct GivenMachine<S>(S);

/// Where a node's state machine comes from. Not to be implemented elsewhere.
pub trait MachineSource<S>: sealed::Sealed {
    /// The state machine in its initial state.
    fn machine(self) -> S;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::DefaultMachine {}
    impl<S> Sealed for super::GivenMachine<S> {}
}

impl<S: Default> MachineSource<S> for DefaultMachine {
    fn machine(self) -> S {
        S::default()
    }
}

impl<S> MachineSource<S> for GivenMachine<S> {
    fn machine(self) -> S {
        self.0
    }
}

/// A description that has been checked.
pub(crate) struct Config {
    pub(crate) me: NodeId,
    /// All members with their addresses, this node included.
    pub(crate) members: BTreeMap<NodeId, String>,
    pub(crate) data_dir: PathBuf,
    pub(crate) cluster: String,
    pub(crate) settings: Settings,
    pub(crate) segment_bytes: Option<u64>,
    pub(crate) snapshot_rate: u64,
    pub(crate) bootstrap: bool,
    pub(crate) listen: String,
    pub(crate) max_clients: usize,
    pub(crate) client_bytes: usize,
    pub(crate) transport: Arc<dyn Transport>,
    /// Where to record, if at all.
    pub(crate) record_to: Option<PathBuf>,
    pub(crate) record_bytes: u64,
}

impl<P: Protocol, S: StateMachine> Builder<P, S> {
    pub(crate) fn new() -> Builder<P, S> {
        let given = Given {
            id: None,
            members: Vec::new(),
            data_dir: None,
            cluster: "quorate".to_owned(),
            settings: Settings::default(),
            segment_bytes: None,
            snapshot_rate: SNAPSHOT_RATE,
            bootstrap: false,
            listen: None,
            max_clients: MAX_CLIENTS,
            client_bytes: CLIENT_BYTES,
            transport: Arc::new(TcpTransport),
            record_to: None,
            record_bytes: RECORD_BYTES,
        };
        Builder { given, machine: DefaultMachine, node: PhantomData }
    }
}

impl<P: Protocol, S: StateMachine, M> Builder<P, S, M> {
    /// This node's name among the members. Required. To replace its machine or disk, start the new one
    /// under the same id with an empty directory, and the old one never again.
    pub fn id(mut self, id: u64) -> Self {
        self.given.id = Some(NodeId(id));
        self
    }

    /// All members, this node included, each with the address at which the others dial it.
    /// Required. The first time, all of them must be up at once: they form the cluster together. From
    /// then on a majority is enough, and the members it was formed with count; the addresses are
    /// taken from here at each start.
    pub fn members<A: Into<String>>(mut self, members: impl IntoIterator<Item = (u64, A)>) -> Self {
        self.given.members =
            members.into_iter().map(|(id, address)| (NodeId(id), address.into())).collect();
        self
    }

    /// Where this node keeps its data. Required. Created if it is not there; no two nodes can
    /// share one.
    pub fn data_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.given.data_dir = Some(path.into());
        self
    }

    /// The cluster's name: nodes and clients with another one are turned away, and so is a data
    /// directory of another one. Default: `quorate`.
    pub fn cluster(mut self, name: impl Into<String>) -> Self {
        self.given.cluster = name.into();
        self
    }

    /// Times and limits.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.given.settings = settings;
        self
    }

    /// The length of each file of the log, in bytes: a multiple of 4096, from 64 KiB to 1 GiB. By default it grows with the log, from 1 MiB
    /// to 64 MiB.
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.given.segment_bytes = Some(bytes);
        self
    }

    /// How fast a snapshot is fetched from another member, in bytes per second; this node's own are
    /// written half as fast. Writing one as fast as the disk allows would hold up the log, which
    /// goes to the same disk, and whatever else does. A large one is fetched as fast as it takes not to
    /// need more than a minute (two for one's own), if the disk is fast enough. Should be the same on
    /// all members. At least 2; [`u64::MAX`] is no bound. Default: 16 MiB.
    pub fn snapshot_rate(mut self, bytes_per_second: u64) -> Self {
        self.given.snapshot_rate = bytes_per_second;
        self
    }

    /// Allows an empty data directory to found a cluster of this node alone. Without it, the only
    /// member of a cluster does not start on an empty directory, since that might be the place
    /// of a lost disk. Clusters of several members need no such permission: their members
    /// found it together. Default: false.
    pub fn bootstrap(mut self, bootstrap: bool) -> Self {
        self.given.bootstrap = bootstrap;
        self
    }

    /// The address to listen at, if it is not the one which the others dial: behind a proxy, or to
    /// listen at all interfaces. Whoever reaches it can propose and read, unless the
    /// [transport](Builder::transport) keeps strangers out. Default: this node's address among the
    /// members.
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.given.listen = Some(address.into());
        self
    }

    /// How many [`Client`](crate::Client)s may be connected at once. One more is told that there is no
    /// room, and looks for another node. There may be fewer: the log and the peers come first, and
    /// the port takes at most half of what else the process may open, by its limit of open files
    /// as of the start. Default: 4096.
    pub fn max_clients(mut self, clients: usize) -> Self {
        self.given.max_clients = clients;
        self
    }

    /// How many bytes may be held for [`Client`](crate::Client)s, all together: requests from their
    /// arrival until they are answered, and answers from when they are encoded until they are sent.
    /// A single one is held however large it is, while there is nothing else. Beyond that, requests are
    /// refused as busy, and so are reads for whose answers there is no room. A command whose response
    /// finds none was executed; its client asks for the response again, under its session. What the
    /// state machine has answered and what is not encoded yet does not count, nor do requests which are
    /// made in this process. Default: 256 MiB.
    pub fn client_bytes(mut self, bytes: usize) -> Self {
        self.given.client_bytes = bytes;
        self
    }

    /// What carries the connections. Default: [`TcpTransport`].
    pub fn transport(mut self, transport: impl Transport) -> Self {
        self.given.transport = Arc::new(transport);
        self
    }

    /// Records what this node is told, into a file: messages, completed writes, timers, requests,
    /// with a digest of all that came of it. [`Recording::replay`](crate::Recording::replay) has the
    /// replica do the same once more, and finds the first effect that differs.
    ///
    /// For finding bugs. The file **holds what clients have sent**; it is no backup, since it lacks what
    /// was there before, and nothing is synced: after a power cut it may be damaged. A recording that
    /// is there is renamed first: `.1` is put behind its name, or the next number up to 9 that is
    /// free. If none is, nothing is recorded. One of a start that failed is written over. The file is
    /// written by a thread of its own. If more than 64 MiB wait for that, or the file is as large as
    /// [it may become](Builder::record_bytes), the recording ends with a warning, and the node
    /// goes on. Default: no recording.
    pub fn record_to(mut self, path: impl Into<PathBuf>) -> Self {
        self.given.record_to = Some(path.into());
        self
    }

    /// How large a [recording](Builder::record_to) may become, in bytes. Default: 1 GiB.
    pub fn record_bytes(mut self, bytes: u64) -> Self {
        self.given.record_bytes = bytes;
        self
    }

    /// The state machine in its initial state, which must be the same on all members.
    /// Default: `S::default()`.
    ///
    /// A snapshot that is restored, at a start or from another member, takes the place of all of it.
    /// What [`Snapshottable::write`](crate::Snapshottable::write) leaves out, be it a limit that was
    /// configured here, is gone from then on: what `apply` depends on must be part of the state.
    pub fn machine(self, machine: S) -> Builder<P, S, GivenMachine<S>> {
        Builder { given: self.given, machine: GivenMachine(machine), node: self.node }
    }

    /// Starts the node. Ready once what is on disk has been recovered and the node listens. That
    /// waits for nobody else: whether there is a leader yet, [`Node::status`] tells, and requests
    /// wait for one by themselves.
    ///
    /// Nothing happens before the future is first polled. If it is dropped after that, the start is given
    /// up: the node stops by itself once it is ready, and holds its data directory and its port until it
    /// has stopped.
    ///
    /// # Errors
    /// See [`StartError`]. Whatever is wrong with the description or the data directory is found
    /// before anything is written there and before any socket is opened.
    pub async fn start(self) -> Result<Node<P, S>, StartError>
    where
        M: MachineSource<S>,
    {
        let (config, machine) = self.check()?;
        crate::start::start(config, machine.machine()).await
    }

    pub(crate) fn check(self) -> Result<(Config, M), ConfigError> {
        let Builder { given, machine, .. } = self;
        let me = given.id.ok_or(ConfigError::NoId)?;
        let members = checked_members(given.members)?;
        let address = members.get(&me).ok_or(ConfigError::NotAMember(me.0))?;
        let data_dir = given.data_dir.ok_or(ConfigError::NoDataDir)?;
        if given.cluster.is_empty() || given.cluster.len() > 255 {
            return Err(ConfigError::ClusterName);
        }
        if let Some(bytes) = given.segment_bytes
            && (!(64 << 10..=StoreOptions::MAX_BYTES).contains(&bytes) || bytes % 4096 != 0)
        {
            return Err(ConfigError::SegmentBytes(bytes));
        }
        if given.snapshot_rate < 2 {
            return Err(ConfigError::SnapshotRate(given.snapshot_rate));
        }
        given.settings.validate()?;
        let config = Config {
            me,
            listen: given.listen.unwrap_or_else(|| address.clone()),
            members,
            data_dir,
            cluster: given.cluster,
            settings: given.settings,
            segment_bytes: given.segment_bytes,
            snapshot_rate: given.snapshot_rate,
            bootstrap: given.bootstrap,
            max_clients: given.max_clients,
            client_bytes: given.client_bytes,
            transport: given.transport,
            record_to: given.record_to,
            record_bytes: given.record_bytes,
        };
        Ok((config, machine))
    }
}

impl<P, S, M> std::fmt::Debug for Builder<P, S, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder")
            .field("id", &self.given.id)
            .field("members", &self.given.members)
            .field("data_dir", &self.given.data_dir)
            .field("cluster", &self.given.cluster)
            .field("settings", &self.given.settings)
            .finish_non_exhaustive()
    }
}

fn checked_members(
    members: Vec<(NodeId, String)>,
) -> Result<BTreeMap<NodeId, String>, ConfigError> {
    if members.is_empty() {
        return Err(ConfigError::NoMembers);
    }
    let mut checked = BTreeMap::<NodeId, String>::new();
    for (id, address) in members {
        if checked.values().any(|other| *other == address) {
            return Err(ConfigError::DuplicateAddress(address));
        }
        if checked.insert(id, address).is_some() {
            return Err(ConfigError::DuplicateMember(id.0));
        }
    }
    Ok(checked)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::time::Duration;

    use async_trait::async_trait;
    use quorate_core::{At, SettingsError};
    use quorate_raft::Raft;
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::net::{Acceptor, Connection};

    #[derive(Default, Clone, Serialize, Deserialize)]
    struct Nothing;

    impl StateMachine for Nothing {
        type Command = ();
        type Response = ();
        type Query = ();
        type Answer = ();
        fn apply(&mut self, _: &At, (): ()) {}
        fn query(&self, _: &At, (): ()) {}
    }

    fn good() -> Builder<Raft, Nothing> {
        Node::builder().id(1).members([(1, "a:1"), (2, "b:1")]).data_dir("data")
    }

    fn error(builder: Builder<Raft, Nothing>) -> ConfigError {
        builder.check().err().unwrap()
    }

    #[test]
    fn a_node_listens_where_the_others_dial_it_unless_told_otherwise() {
        assert_eq!(good().check().unwrap().0.listen, "a:1");
        assert_eq!(good().listen("0.0.0.0:7").check().unwrap().0.listen, "0.0.0.0:7");
    }

    /// Reaches nobody, and says so in its own way.
    struct Nowhere;

    #[async_trait]
    impl Transport for Nowhere {
        async fn bind(&self, _: &str) -> io::Result<Box<dyn Acceptor>> {
            Err(io::ErrorKind::Unsupported.into())
        }

        async fn dial(&self, _: &str) -> io::Result<Connection> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    #[tokio::test]
    async fn a_node_is_what_it_was_described_as() {
        let settings = Settings { max_sessions: 7, ..Settings::default() };
        let described = Node::<Raft, Nothing>::builder()
            .id(2)
            .members([(1, "a:1"), (2, "b:1")])
            .data_dir("somewhere")
            .cluster("named")
            .settings(settings.clone())
            .segment_bytes(1 << 20)
            .snapshot_rate(3)
            .bootstrap(true)
            .listen("c:1")
            .max_clients(4)
            .client_bytes(5)
            .transport(Nowhere)
            .record_to("tape")
            .record_bytes(6);
        let Config {
            me,
            members,
            data_dir,
            cluster,
            settings: set,
            segment_bytes,
            snapshot_rate,
            bootstrap,
            listen,
            max_clients,
            client_bytes,
            transport,
            record_to,
            record_bytes,
        } = described.check().unwrap().0;
        assert_eq!((me, cluster.as_str(), listen.as_str()), (NodeId(2), "named", "c:1"));
        let expected = [(NodeId(1), "a:1".to_owned()), (NodeId(2), "b:1".to_owned())];
        assert_eq!(members, BTreeMap::from(expected));
        assert_eq!((data_dir, bootstrap), (PathBuf::from("somewhere"), true));
        assert_eq!((set, segment_bytes, snapshot_rate), (settings, Some(1 << 20), 3));
        assert_eq!((max_clients, client_bytes), (4, 5));
        assert_eq!((record_to, record_bytes), (Some(PathBuf::from("tape")), 6));
        let dialled = transport.dial("a:1").await.unwrap_err();
        assert_eq!(dialled.kind(), io::ErrorKind::Unsupported);
    }

    #[test]
    fn what_nothing_was_said_of_is_as_documented() {
        let config = good().check().unwrap().0;
        assert_eq!((config.cluster.as_str(), config.settings), ("quorate", Settings::default()));
        assert_eq!((config.segment_bytes, config.bootstrap), (None, false));
        assert_eq!((config.max_clients, config.client_bytes), (4096, 256 << 20));
        assert_eq!((config.snapshot_rate, config.record_to), (16 << 20, None));
        assert_eq!(config.record_bytes, 1 << 30);
    }

    #[test]
    fn what_is_missing_or_contradictory_is_named() {
        assert_eq!(error(Node::builder()), ConfigError::NoId);
        assert_eq!(error(Node::builder().id(1)), ConfigError::NoMembers);
        assert_eq!(error(good().id(3)), ConfigError::NotAMember(3));
        let twice = [(1, "a:1"), (1, "b:1")];
        assert_eq!(error(good().members(twice)), ConfigError::DuplicateMember(1));
        let same = [(1, "a:1"), (2, "a:1")];
        assert_eq!(error(good().members(same)), ConfigError::DuplicateAddress("a:1".into()));
        assert_eq!(error(good().cluster("")), ConfigError::ClusterName);
        for bytes in [5000, 4096, (1 << 30) + 4096, u64::MAX - 4095] {
            assert_eq!(error(good().segment_bytes(bytes)), ConfigError::SegmentBytes(bytes));
        }
        assert_eq!(error(good().snapshot_rate(1)), ConfigError::SnapshotRate(1));
        good().snapshot_rate(2).check().unwrap();
        let huge = Settings { uncommitted_bytes: 1 << 30, ..Settings::default() };
        assert!(matches!(
            error(good().settings(huge)),
            ConfigError::Settings(SettingsError::TooLarge { name: "uncommitted_bytes", .. })
        ));
        let hasty = Settings { heartbeat: Duration::from_secs(1), ..Settings::default() };
        let expected = ConfigError::Settings(SettingsError::Election);
        assert_eq!(error(good().settings(hasty)), expected);
        let nowhere = Node::<Raft, Nothing>::builder().id(1).members([(1, "a:1")]);
        assert_eq!(error(nowhere), ConfigError::NoDataDir);
    }
}
