//! One buffer to many sockets through io_uring. The only unsafe code here, behind a safe function.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use io_uring::{IoUring, opcode, types};
use rustix::io::Errno;

/// How many sends go into the kernel with one system call.
const BATCH: usize = 256;
/// `MSG_DONTWAIT | MSG_NOSIGNAL`: a full socket answers at once.
const FLAGS: i32 = 0x40 | 0x4000;

/// A ring that sends.
pub struct Ring(IoUring);

impl Ring {
    /// A ring for this thread only, whose completions are handled when they are asked for.
    pub fn new() -> io::Result<Self> {
        let entries = BATCH as u32;
        IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(entries).map(Self)
    }

    /// Sends the bytes to every socket. Those that did not take all of them are added to `short`: how much they took.
    pub fn send<'a>(
        &mut self,
        bytes: &[u8],
        sockets: impl Iterator<Item = (usize, BorrowedFd<'a>)>,
        short: &mut Vec<(usize, Result<usize, Errno>)>,
    ) {
        let mut sockets = sockets.peekable();
        while sockets.peek().is_some() {
            let mut pushed = 0;
            let mut submission = self.0.submission();
            for (at, socket) in sockets.by_ref().take(BATCH) {
                let entry = opcode::Send::new(types::Fd(socket.as_raw_fd()), bytes.as_ptr(), bytes.len() as u32)
                    .flags(FLAGS)
                    .build()
                    .user_data(at as u64);
                // SAFETY: the entry points at `bytes` and names a descriptor that `socket` keeps open. Both outlive this
                // function, which returns only when the kernel has answered every entry that was pushed, or aborts.
                if unsafe { submission.push(&entry) }.is_err() {
                    unreachable!("the queue has room for a batch and was emptied by the last one");
                }
                pushed += 1;
            }
            drop(submission);
            self.finish(pushed, bytes.len(), short);
        }
    }

    /// Hands the entries to the kernel and waits until all are answered.
    fn finish(&mut self, pushed: usize, length: usize, short: &mut Vec<(usize, Result<usize, Errno>)>) {
        let mut done = 0;
        while done < pushed {
            match self.0.submit_and_wait(pushed - done) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The kernel may still hold the buffer: nobody may free it.
                Err(_) => std::process::abort(),
            }
            for answer in self.0.completion() {
                done += 1;
                let at = answer.user_data() as usize;
                match answer.result() {
                    sent if sent == length as i32 => {}
                    sent if sent >= 0 => short.push((at, Ok(sent as usize))),
                    error => short.push((at, refusal(-error))),
                }
            }
        }
    }
}

/// A full socket took nothing; anything else is an error.
fn refusal(error: i32) -> Result<usize, Errno> {
    match Errno::from_raw_os_error(error) {
        Errno::AGAIN => Ok(0),
        error => Err(error),
    }
}
