//! Writes to many sockets at once, by the shortest way to the kernel: one io_uring batch where it is to be had, else
//! one system call per socket.
//!
//! This is the only module with `unsafe`. tokio keeps a socket's descriptor behind several cold pointers; here it
//! lies in an array. What that costs in proof stands beside each block.
#![expect(unsafe_code, reason = "descriptors from an array, and submission to io_uring; each block has its proof")]

use std::io::IoSlice;
use std::ops::Range;
use std::os::fd::{AsRawFd as _, BorrowedFd, RawFd};
use std::rc::Rc;

use io_uring::{IoUring, opcode, types};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, send, sendmsg};

use crate::transport::stream::Stream;

/// Writes in one submission.
pub(crate) const BATCH: usize = 256;

/// Never waits, and a peer that is gone is an error, not a signal.
const FLAGS: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);

/// What is to be written to one socket: consecutive slices of the batch's.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Write {
    /// The session's slot.
    pub slot: u32,
    /// Where its slices begin.
    pub first: u32,
    /// How many they are; at least one.
    pub count: u32,
}

impl Write {
    /// The slices of that range, to whomever.
    pub(crate) fn of(slices: Range<usize>) -> Self {
        let number = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self { slot: u32::MAX, first: number(slices.start), count: number(slices.len()) }
    }

    /// Its slices; none where they would lie outside, rather than a panic between two entries of a submission.
    fn slices<'a, 'b>(&self, all: &'a [IoSlice<'b>]) -> &'a [IoSlice<'b>] {
        all.get(self.first as usize..).and_then(|from| from.get(..self.count as usize)).unwrap_or_default()
    }
}

/// How many bytes the kernel took; [`Errno::AGAIN`] when it takes none now.
pub(crate) type Wrote = Result<usize, Errno>;

/// The sockets of a shard, by their sessions' slots.
///
/// Invariant: `fds[slot]` is the descriptor of `streams[slot]`, or -1 where that is `None`. Only `attach`,
/// `detach` and `truncate` change either, and always both. Because `streams` owns a reference, the descriptor is open, and is that
/// connection's, for as long as it stands here.
pub(crate) struct Wires {
    fds: Vec<RawFd>,
    streams: Vec<Option<Rc<Stream>>>,
    ring: Option<IoUring>,
    /// Lent to the entries of one submission.
    heads: Vec<libc::msghdr>,
}

impl std::fmt::Debug for Wires {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wires").field("slots", &self.fds.len()).field("uring", &self.ring.is_some()).finish()
    }
}

impl Wires {
    /// No sockets yet. `uring`: try io_uring; where the kernel or its policy refuses, system calls do.
    pub(crate) fn new(uring: bool) -> Self {
        Self { fds: Vec::new(), streams: Vec::new(), ring: if uring { open_ring() } else { None }, heads: Vec::new() }
    }

    /// Whether io_uring is in use.
    pub(crate) fn has_ring(&self) -> bool {
        self.ring.is_some()
    }

    /// Lets a session be written to, if its connection is plain.
    pub(crate) fn attach(&mut self, slot: u32, stream: &Rc<Stream>) {
        let Some(tcp) = stream.plain() else { return };
        let slot = slot as usize;
        if self.fds.len() <= slot {
            self.fds.resize(slot + 1, -1);
            self.streams.resize(slot + 1, None);
        }
        self.fds[slot] = tcp.as_raw_fd();
        self.streams[slot] = Some(Rc::clone(stream));
    }

    /// Lets go of a session's socket.
    pub(crate) fn detach(&mut self, slot: u32) {
        if let Some(fd) = self.fds.get_mut(slot as usize) {
            *fd = -1;
            self.streams[slot as usize] = None;
        }
    }

    /// Lets go of the room for slots from `slots` on, none of which has a socket.
    pub(crate) fn truncate(&mut self, slots: usize) {
        self.fds.truncate(slots);
        self.fds.shrink_to_fit();
        self.streams.truncate(slots);
        self.streams.shrink_to_fit();
    }

    /// Writes to each socket what the kernel takes at once; one result per write is appended to `out`, in order.
    pub(crate) fn write(&mut self, writes: &[Write], slices: &[IoSlice<'_>], out: &mut Vec<Wrote>) {
        for batch in writes.chunks(BATCH) {
            let done = if batch.len() > 1 { self.submit(batch, slices, out) } else { 0 };
            for write in &batch[done..] {
                out.push(self.write_one(*write, slices));
            }
        }
    }

    /// The descriptor in a slot, or -1.
    fn fd(&self, slot: u32) -> RawFd {
        self.fds.get(slot as usize).copied().unwrap_or(-1)
    }

    fn write_one(&self, write: Write, slices: &[IoSlice<'_>]) -> Wrote {
        let fd = self.fd(write.slot);
        if fd < 0 {
            return Err(Errno::BADF);
        }
        // SAFETY: by the invariant of `Wires`, `fd` is open as long as `self.streams` is not changed, and `self` is
        // borrowed for longer than `fd` is.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        match write.slices(slices) {
            [one] => send(fd, one, FLAGS),
            some => sendmsg(fd, some, &mut SendAncillaryBuffer::default(), FLAGS),
        }
    }

    /// Writes by one submission. Returns for how many it has appended a result: none where there is no ring.
    fn submit(&mut self, writes: &[Write], slices: &[IoSlice<'_>], out: &mut Vec<Wrote>) -> usize {
        let Some(ring) = &mut self.ring else { return 0 };
        let from = out.len();
        self.heads.clear();
        self.heads.reserve(writes.len());
        let mut open = 0;
        let mut queue = ring.submission();
        for (index, write) in writes.iter().enumerate() {
            let fd = types::Fd(self.fds.get(write.slot as usize).copied().unwrap_or(-1));
            let entry = match write.slices(slices) {
                [one] => opcode::Send::new(fd, one.as_ptr(), u32::try_from(one.len()).unwrap_or(u32::MAX))
                    .flags(FLAGS.bits().cast_signed())
                    .build(),
                some => {
                    if self.heads.last().is_none_or(|head| !std::ptr::eq(head.msg_iov, some.as_ptr().cast())) {
                        self.heads.push(message(some));
                    }
                    let head = &raw const self.heads[self.heads.len() - 1];
                    opcode::SendMsg::new(fd, head).flags(FLAGS.bits()).build()
                }
            };
            // SAFETY: what the entry points to must live until its completion. The bytes and slices are borrowed for
            // longer than this function runs; `heads` got all its room before, so its elements do not move. This
            // function returns only after every entry has completed, or ends the process: nothing between here and
            // there panics and leaves entries in the queue. The descriptors are open by the invariant of `Wires`; -1
            // is refused by the kernel with EBADF.
            if unsafe { queue.push(&entry.user_data(index as u64)) }.is_err() {
                break;
            }
            open += 1;
        }
        drop(queue);
        let done = open;
        out.resize(from + done, Err(Errno::AGAIN));
        while open > 0 {
            match ring.submit_and_wait(open) {
                Ok(_) => {}
                Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::EBUSY)) => {}
                // The kernel may hold pointers into this batch, so there is no way back. It refuses a ring that has
                // worked only if the process's memory is damaged.
                Err(_) => std::process::abort(),
            }
            for completion in ring.completion() {
                out[from + usize::try_from(completion.user_data()).unwrap_or(0)] = outcome(completion.result());
                open -= 1;
            }
        }
        done
    }
}

/// A ring for one thread's batches, if the kernel has it (a container's policy may forbid it, Linux before 6.0 lacks
/// the flags that make it fast) and it works: a policy may allow to create what it then forbids to use.
fn open_ring() -> Option<IoUring> {
    let entries = u32::try_from(BATCH).unwrap_or(u32::MAX);
    let mut ring: IoUring = IoUring::builder().setup_single_issuer().setup_coop_taskrun().build(entries).ok()?;
    let trial = opcode::Send::new(types::Fd(-1), std::ptr::null(), 0).build();
    // SAFETY: the entry points to nothing.
    unsafe { ring.submission().push(&trial) }.ok()?;
    ring.submit_and_wait(1).ok()?;
    let refused = ring.completion().next().map(|completion| outcome(completion.result()));
    (refused == Some(Err(Errno::BADF))).then_some(ring)
}

/// The head of a message that consists of `slices` and nothing else.
fn message(slices: &[IoSlice<'_>]) -> libc::msghdr {
    // SAFETY: all fields of this C struct are integers and pointers, for which zero is valid: no name, no control data.
    let mut head: libc::msghdr = unsafe { std::mem::zeroed() };
    // `IoSlice` has the layout of `iovec` (std says so), and the kernel only reads.
    head.msg_iov = slices.as_ptr().cast::<libc::iovec>().cast_mut();
    head.msg_iovlen = slices.len();
    head
}

fn outcome(result: i32) -> Wrote {
    usize::try_from(result).map_err(|_| Errno::from_raw_os_error(-result))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::{TcpListener, TcpStream as StdStream};

    use super::*;

    /// A connection: what a shard writes to, and its client's end.
    fn connection(listener: &TcpListener) -> (Rc<Stream>, StdStream) {
        let client = StdStream::connect(listener.local_addr().expect("an address")).expect("a connection");
        let (stream, _) = listener.accept().expect("its other end");
        stream.set_nonblocking(true).expect("a socket that does not wait");
        let stream = tokio::net::TcpStream::from_std(stream).expect("a socket of the runtime");
        (Rc::new(Stream::Plain(stream)), client)
    }

    fn heard(mut client: StdStream, stream: Rc<Stream>) -> String {
        assert_eq!(Rc::strong_count(&stream), 1, "nothing else holds the connection");
        drop(stream);
        let mut text = String::new();
        client.read_to_string(&mut text).expect("all that was written");
        text
    }

    fn check(uring: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
        let _guard = runtime.enter();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let mut wires = Wires::new(uring);
        let (first, one) = connection(&listener);
        let (second, two) = connection(&listener);
        let (third, three) = connection(&listener);
        wires.attach(0, &first);
        wires.attach(2, &second);
        let slices = [b"a".as_slice(), b"bc", b"def"].map(IoSlice::new);
        let to = |slot, range: Range<usize>| Write { slot, ..Write::of(range) };
        let mut wrote = Vec::new();
        // Slot 1 was never attached, 7 is beyond all.
        wires.write(&[to(2, 0..3), to(1, 0..1), to(0, 1..2), to(7, 0..2), to(0, 0..3)], &slices, &mut wrote);
        assert_eq!(wrote, [Ok(6), Err(Errno::BADF), Ok(2), Err(Errno::BADF), Ok(6)]);
        wires.detach(2);
        wires.attach(0, &third);
        wrote.clear();
        wires.write(&[to(0, 2..3), to(2, 2..3)], &slices, &mut wrote);
        assert_eq!(wrote, [Ok(3), Err(Errno::BADF)]);
        wires.detach(0);
        wires.truncate(0);
        wrote.clear();
        wires.write(&[to(0, 2..3), to(2, 2..3)], &slices, &mut wrote);
        assert_eq!(wrote, [Err(Errno::BADF); 2], "nobody is there any more");
        assert_eq!([heard(one, first), heard(two, second), heard(three, third)], ["bcabcdef", "abcdef", "def"]);
    }

    #[test]
    fn each_connection_gets_what_is_its_own_by_system_calls() {
        check(false);
    }

    /// Where the kernel refuses a ring, this is the same as without.
    #[test]
    fn each_connection_gets_what_is_its_own_through_a_ring() {
        check(true);
    }

    #[test]
    fn a_connection_that_is_full_takes_a_part_and_then_nothing() {
        for uring in [false, true] {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
            let _guard = runtime.enter();
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            let mut wires = Wires::new(uring);
            let (stream, client) = connection(&listener);
            wires.attach(0, &stream);
            let much = vec![b'x'; 16 * 1024 * 1024];
            let slices = [IoSlice::new(&much)];
            let write = Write { slot: 0, ..Write::of(0..1) };
            let mut wrote = Vec::new();
            wires.write(&[write, write], &slices, &mut wrote);
            let taken: usize = wrote.iter().map(|wrote| wrote.unwrap_or(0)).sum();
            assert!(matches!(wrote[0], Ok(count) if count < much.len()), "{wrote:?}");
            wires.detach(0);
            assert_eq!(heard(client, stream).len(), taken);
        }
    }
}
