//! When the system took in what a connection reads: a delivery has arrived then, however long it lies there because the
//! generator, one thread with hundreds of connections, is busy with others.

use std::io;

use mio::net::TcpStream;

#[cfg(target_os = "linux")]
pub(super) use linux::Arrivals;
#[cfg(not(target_os = "linux"))]
pub(super) use other::Arrivals;

#[cfg(target_os = "linux")]
mod linux {
    use std::io::IoSliceMut;
    use std::os::fd::AsRawFd as _;
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use nix::cmsg_space;
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
    use nix::sys::time::TimeSpec;

    use super::{TcpStream, io};

    /// A connection's arrivals.
    #[derive(Debug)]
    pub(in super::super) struct Arrivals {
        note: Vec<u8>,
        /// For how many nanoseconds the last of what was read last had lain there.
        pub(in super::super) lain: u64,
    }

    impl Arrivals {
        /// Has the system note them.
        pub(in super::super) fn of(stream: &TcpStream) -> io::Result<Self> {
            setsockopt(stream, sockopt::ReceiveTimestampns, &true)?;
            Ok(Self { note: cmsg_space!(TimeSpec), lain: 0 })
        }

        /// Reads once.
        pub(in super::super) fn read(&mut self, stream: &mut TcpStream, into: &mut [u8]) -> io::Result<usize> {
            let Self { note, lain } = self;
            stream.try_io(|| {
                let mut into = [IoSliceMut::new(into)];
                let read = recvmsg::<()>(stream.as_raw_fd(), &mut into, Some(note), MsgFlags::empty())?;
                let arrived = read.cmsgs()?.find_map(|note| match note {
                    ControlMessageOwned::ScmTimestampns(at) => Some(UNIX_EPOCH + Duration::from(at)),
                    _ => None,
                });
                // A clock that was set meanwhile says nothing.
                let time = arrived.and_then(|arrived| SystemTime::now().duration_since(arrived).ok());
                *lain = time.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(0));
                Ok(read.bytes)
            })
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    use std::io::Read as _;

    use super::{TcpStream, io};

    /// Nothing is known of a connection's arrivals.
    #[derive(Debug)]
    pub(in super::super) struct Arrivals {
        /// So what is read has arrived now.
        pub(in super::super) lain: u64,
    }

    impl Arrivals {
        /// Nothing to be done.
        pub(in super::super) fn of(_: &TcpStream) -> io::Result<Self> {
            Ok(Self { lain: 0 })
        }

        /// Reads once.
        pub(in super::super) fn read(&mut self, stream: &mut TcpStream, into: &mut [u8]) -> io::Result<usize> {
            stream.read(into)
        }
    }
}
