//! How much a client may say without saying anything: pings and pongs, crumbs of messages, packets that carry nothing or
//! that nobody understands. No app has a rule for them, yet each costs a read and perhaps an answer.

use std::cell::Cell;

use oyez_hub::policy::limits::Rate;
use oyez_protocol::code::Code;

use crate::clock;
use crate::session::Fault;

/// In the long run. A stock client says one such thing in 25 seconds.
const PER_SECOND: u64 = 50;

/// At once.
const BURST: u64 = 500;

/// What one client, or one connection, has said of that kind.
#[derive(Debug, Default)]
pub(crate) struct Chatter(Cell<u64>);

impl Chatter {
    /// Notes that it said `count` such things more.
    pub(crate) fn hear(&self, count: usize) -> Result<(), Fault> {
        if count == 0 {
            return Ok(());
        }
        let (rate, now) = (Rate::new(PER_SECOND, BURST), clock::steady_nanos());
        let all = (0..count).all(|_| rate.allows(&self.0, now));
        if all { Ok(()) } else { Err(Fault::Protocol(Code::Flood)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_may_chat_but_not_without_end() {
        let chatter = Chatter::default();
        assert_eq!(chatter.hear(0), Ok(()));
        assert_eq!(chatter.hear(400), Ok(()));
        assert_eq!(chatter.hear(10_000), Err(Fault::Protocol(Code::Flood)));
        assert_eq!(Chatter::default().hear(500), Ok(()));
    }
}
