//! What do master and server process say to each other? The words alone; `channel` carries them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::net::opener::Stamp;
use crate::plan::listener::ListenAddress;

use super::exports::{Parcel, Standing};
use super::load::Source;

/// Master → server process.
#[derive(Debug, Serialize, Deserialize)]
pub enum Order {
    /// The first word; beside it the descriptor on which the server process may ask.
    Hello,
    /// Serve this from now on; beside it the listening sockets, in order.
    Run(Box<Job>),
    /// Open the logs again.
    Reopen,
    /// Finish what is under way, then end.
    Quit {
        /// Nobody accepts on the sockets after us: what the kernel holds ready on them is ours to answer.
        last: bool,
    },
    /// End.
    Stop,
}

/// What shall be served, and where.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    /// Counted up by each reload.
    pub generation: u64,
    /// What the plan is made from.
    pub source: Source,
    /// Listening sockets: address and how many descriptors belong to it.
    pub sockets: Vec<(Address, usize)>,
    /// Another master listens on some of them too: none may be shut for good.
    pub shared: bool,
}

/// A [`ListenAddress`] on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Address {
    /// TCP.
    Tcp(std::net::SocketAddr),
    /// A unix-domain socket.
    Unix(PathBuf),
}

impl From<&ListenAddress> for Address {
    fn from(address: &ListenAddress) -> Address {
        match address {
            ListenAddress::Tcp(address) => Address::Tcp(*address),
            ListenAddress::Unix(path) => Address::Unix(path.clone()),
        }
    }
}

impl From<Address> for ListenAddress {
    fn from(address: Address) -> ListenAddress {
        match address {
            Address::Tcp(address) => ListenAddress::Tcp(address),
            Address::Unix(path) => ListenAddress::Unix(path),
        }
    }
}

/// Server process → master. Each is answered by one [`Answer`].
#[derive(Debug, Serialize, Deserialize)]
pub enum Ask {
    /// Open a log for append.
    Append(PathBuf),
    /// Open a file for reading.
    Open(PathBuf),
    /// Look at files.
    Stamps(Vec<PathBuf>),
    /// Write a certificate for others; its parts lie in the descriptors beside it, in the order of the layout.
    Export(Box<Parcel>),
    /// A job is being served, or cannot be: nothing has changed then.
    Done {
        /// Of which job.
        generation: u64,
        /// Why not.
        refused: Option<String>,
    },
}

/// Master → server process, to an [`Ask`].
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    /// The descriptor is beside it, or the number of the error.
    File(Result<(), i32>),
    /// In the order of the paths.
    Stamps(Vec<Option<Stamp>>),
    /// How an export stands, or what stands in its way.
    Exported(Result<Standing, String>),
    /// Heard.
    Noted,
}
