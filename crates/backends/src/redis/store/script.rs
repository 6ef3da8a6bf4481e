//! The operations of the store, each a Lua script that Redis runs alone: all of it, or nothing.

use std::sync::Arc;

use redis::Cmd;

/// An operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Script {
    Put,
    Release,
    NextDue,
    Page,
    Find,
    Unread,
    Mark,
    Delete,
    Resend,
    Note,
    Trace,
    Roster,
    Members,
    Channels,
    Maintain,
    Stats,
    Verify,
    Probe,
    Remember,
    Recall,
}

/// Refused where Redis would refuse a write, for want of memory too.
const WRITES: &str = "#!lua\n";
/// What becomes of messages that are there takes little room, and leads to more.
const WRITES_LITTLE: &str = "#!lua flags=allow-oom\n";
const READS: &str = "#!lua flags=no-writes\n";

const BASE: &str = include_str!("lua/base.lua");
const ENTRY: &str = include_str!("lua/entry.lua");
const HELD: &str = include_str!("lua/held.lua");
const PAST: &str = include_str!("lua/past.lua");

impl Script {
    pub(super) const ALL: [Self; 20] = [
        Self::Put,
        Self::Release,
        Self::NextDue,
        Self::Page,
        Self::Find,
        Self::Unread,
        Self::Mark,
        Self::Delete,
        Self::Resend,
        Self::Note,
        Self::Trace,
        Self::Roster,
        Self::Members,
        Self::Channels,
        Self::Maintain,
        Self::Stats,
        Self::Verify,
        Self::Probe,
        Self::Remember,
        Self::Recall,
    ];

    /// What Redis is given.
    pub(super) fn source(self) -> String {
        match self {
            Self::Put => [WRITES, BASE, ENTRY, include_str!("lua/put.lua")].concat(),
            Self::Release => [WRITES, BASE, ENTRY, include_str!("lua/release.lua")].concat(),
            Self::NextDue => [READS, BASE, include_str!("lua/next_due.lua")].concat(),
            Self::Page => [READS, BASE, ENTRY, HELD, include_str!("lua/page.lua")].concat(),
            Self::Find => [READS, BASE, ENTRY, HELD, include_str!("lua/find.lua")].concat(),
            Self::Unread => [WRITES_LITTLE, BASE, include_str!("lua/unread.lua")].concat(),
            Self::Mark => [WRITES_LITTLE, BASE, ENTRY, HELD, include_str!("lua/mark.lua")].concat(),
            Self::Delete => [WRITES_LITTLE, BASE, ENTRY, HELD, include_str!("lua/delete.lua")].concat(),
            Self::Resend => [WRITES, BASE, ENTRY, HELD, include_str!("lua/resend.lua")].concat(),
            Self::Note => [WRITES_LITTLE, BASE, ENTRY, HELD, include_str!("lua/note.lua")].concat(),
            Self::Trace => [READS, BASE, ENTRY, HELD, include_str!("lua/trace.lua")].concat(),
            Self::Roster => [WRITES, BASE, include_str!("lua/roster.lua")].concat(),
            Self::Members => [READS, BASE, include_str!("lua/members.lua")].concat(),
            Self::Channels => [READS, BASE, include_str!("lua/channels.lua")].concat(),
            Self::Maintain => [WRITES_LITTLE, BASE, ENTRY, include_str!("lua/maintain.lua")].concat(),
            Self::Stats => [WRITES_LITTLE, BASE, include_str!("lua/stats.lua")].concat(),
            Self::Verify => [READS, BASE, include_str!("lua/verify.lua")].concat(),
            Self::Probe => [WRITES, include_str!("lua/probe.lua")].concat(),
            Self::Remember => [WRITES, BASE, PAST, include_str!("lua/remember.lua")].concat(),
            Self::Recall => [WRITES_LITTLE, BASE, PAST, include_str!("lua/recall.lua")].concat(),
        }
    }

    /// Whether it can be asked again when nobody knows whether it was done: its second answer is as good as its first.
    pub(super) fn repeats(self) -> bool {
        matches!(self, Self::Put | Self::Release | Self::Maintain | Self::Stats | Self::Probe)
    }
}

/// One operation on an app.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) script: Script,
    pub(super) app: Arc<str>,
    pub(super) args: Vec<Vec<u8>>,
}

impl Call {
    pub(super) fn new(script: Script, app: impl Into<Arc<str>>) -> Self {
        Self { script, app: app.into(), args: Vec::new() }
    }

    pub(super) fn arg(mut self, arg: impl Into<Vec<u8>>) -> Self {
        self.args.push(arg.into());
        self
    }

    pub(super) fn number(self, number: u64) -> Self {
        self.arg(number.min(MOST).to_string())
    }

    pub(super) fn flag(self, flag: bool) -> Self {
        self.arg(if flag { "1" } else { "0" })
    }

    pub(super) fn names<'a>(mut self, names: impl IntoIterator<Item = &'a Arc<str>>) -> Self {
        self.args.extend(names.into_iter().map(|name| name.as_bytes().to_vec()));
        self
    }

    /// As Redis is asked it.
    pub(super) fn command(&self, prefix: &str, sha: &str) -> Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(sha).arg(1).arg(tag(prefix, &self.app));
        self.add_to(&mut command);
        command
    }

    /// As a part of a command that asks the same of the same app.
    pub(super) fn add_to(&self, command: &mut Cmd) {
        for arg in &self.args {
            command.arg(arg.as_slice());
        }
    }

    /// Whether one command can do this behind another: a script then answers each.
    pub(super) fn joins(&self, other: &Self) -> bool {
        self.script == Script::Put && other.script == Script::Put && self.app == other.app
    }

    /// Bytes, about.
    pub(super) fn size(&self) -> usize {
        self.args.iter().map(|arg| arg.len() + 16).sum::<usize>() + 128
    }
}

/// Lua's numbers are exact up to here.
const MOST: u64 = 1 << 53;

/// What all keys of an app begin with. What is in braces decides in a Redis Cluster on which node they are, so that no name
/// may have its own.
fn tag(prefix: &str, app: &str) -> String {
    let app = app.replace('%', "%25").replace('{', "%7B").replace('}', "%7D");
    format!("{prefix}{{{app}}}:")
}

#[cfg(test)]
mod tests {
    use super::tag;

    #[test]
    fn an_app_has_one_hash_tag() {
        assert_eq!(tag("oyez:", "desk"), "oyez:{desk}:");
        assert_eq!(tag("oyez:", "a}b{c%"), "oyez:{a%7Db%7Bc%25}:");
    }
}
