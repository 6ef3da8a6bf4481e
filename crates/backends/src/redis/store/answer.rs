//! What scripts answer, as the hub's nouns.

use std::sync::Arc;

use oyez_hub::command::Level;
use oyez_hub::store::{
    Change, Deleted, Found, Gone, Item, Marked, Message, Outcome, Page, ReceiptTo, Released, Seq, State, StoreError,
    Stored, Target, Trace,
};
use redis::Value;

type Read<T> = Result<T, StoreError>;

fn strange(what: &str, value: &Value) -> StoreError {
    let shape = match value {
        Value::Nil => "nothing",
        Value::Int(_) => "a number",
        Value::BulkString(_) | Value::SimpleString(_) => "a string",
        Value::Array(_) => "a list",
        _ => "something else",
    };
    StoreError::damaged(format!("{shape} where {what} should be"), "an answer of Redis")
}

pub(super) fn list(value: Value) -> Read<Vec<Value>> {
    match value {
        Value::Array(values) => Ok(values),
        other => Err(strange("a list", &other)),
    }
}

/// A list of exactly so many.
pub(super) fn some<const N: usize>(value: Value) -> Read<[Value; N]> {
    let values = list(value)?;
    values.try_into().map_err(|values: Vec<Value>| {
        StoreError::damaged(format!("{} values where {N} should be", values.len()), "an answer of Redis")
    })
}

pub(super) fn bytes(value: Value) -> Read<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Ok(bytes),
        Value::SimpleString(text) => Ok(text.into_bytes()),
        other => Err(strange("a string", &other)),
    }
}

pub(super) fn text(value: Value) -> Read<String> {
    String::from_utf8(bytes(value)?).map_err(|_| StoreError::damaged("a name that is no text", "an answer of Redis"))
}

pub(super) fn name(value: Value) -> Read<Arc<str>> {
    text(value).map(Arc::from)
}

pub(super) fn names(value: Value) -> Read<Vec<Arc<str>>> {
    list(value)?.into_iter().map(name).collect()
}

pub(super) fn number(value: &Value) -> Read<u64> {
    let number = match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        Value::BulkString(digits) => std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()),
        _ => None,
    };
    number.ok_or_else(|| strange("a number", value))
}

pub(super) fn count(value: &Value) -> Read<usize> {
    number(value).map(|number| usize::try_from(number).unwrap_or(usize::MAX))
}

/// A target as scripts write it.
pub(super) fn written(target: &Target) -> Vec<u8> {
    let kind = match target {
        Target::User(_) => b'u',
        Target::Channel(_) => b'c',
    };
    [&[kind], target.name().as_bytes()].concat()
}

pub(super) fn target(value: Value) -> Read<Target> {
    let text = text(value)?;
    match text.split_at_checked(1) {
        Some(("u", name)) => Ok(Target::User(name.into())),
        Some(("c", name)) => Ok(Target::Channel(name.into())),
        _ => Err(StoreError::damaged("a target of no kind", "an answer of Redis")),
    }
}

pub(super) fn targets(value: Value) -> Read<Vec<Target>> {
    list(value)?.into_iter().map(target).collect()
}

/// A list of pairs.
fn pairs<A, B>(value: Value, first: impl Fn(Value) -> Read<A>, second: impl Fn(Value) -> Read<B>) -> Read<Vec<(A, B)>> {
    let mut values = list(value)?.into_iter();
    let mut pairs = Vec::with_capacity(values.len() / 2);
    while let (Some(one), Some(other)) = (values.next(), values.next()) {
        pairs.push((first(one)?, second(other)?));
    }
    Ok(pairs)
}

fn places(value: Value) -> Read<Vec<(Target, Seq)>> {
    pairs(value, target, |place| number(&place))
}

fn state(value: &Value) -> Read<State> {
    State::ALL.get(count(value)?).copied().ok_or_else(|| strange("a state", value))
}

fn message(value: Value) -> Read<Message> {
    Message::from_bytes(&bytes(value)?)
}

/// Who wants receipts, as scripts write it.
pub(super) fn wanted(receipt: Option<&ReceiptTo>) -> Vec<u8> {
    match receipt {
        None => Vec::new(),
        Some(ReceiptTo::Webhook) => b"w".to_vec(),
        Some(ReceiptTo::Channel(channel)) => [b"c", channel.as_bytes()].concat(),
    }
}

fn receipt_to(written: &str) -> Option<ReceiptTo> {
    match written.split_at_checked(1)? {
        ("c", channel) => Some(ReceiptTo::Channel(channel.into())),
        _ => Some(ReceiptTo::Webhook),
    }
}

pub(super) fn stored(value: Value, to: &[Target], level: Level) -> Read<Stored> {
    let [outcome, lies, refused, dropped] = some(value)?;
    let outcome = match text(outcome)?.as_str() {
        "stored" => Outcome::Stored,
        "scheduled" => Outcome::Scheduled,
        "duplicate" => Outcome::Duplicate,
        _ => return Err(StoreError::InboxFull(to.first().map(Target::to_string).unwrap_or_default())),
    };
    let dropped = pairs(dropped, target, name)?;
    Ok(Stored { outcome, level, places: places(lies)?, refused: targets(refused)?, dropped })
}

pub(super) fn released(value: Value, app: &Arc<str>) -> Read<Vec<Released>> {
    let one = |value| {
        let [_, body, lies, refused, dropped] = some(value)?;
        let (places, refused, dropped) = (places(lies)?, targets(refused)?, pairs(dropped, target, name)?);
        Ok(Released { app: Arc::clone(app), message: message(body)?, places, refused, dropped })
    };
    list(value)?.into_iter().map(one).collect()
}

pub(super) fn page(value: Value) -> Read<Page> {
    let [next, horizon, found] = some(value)?;
    Ok(Page { items: items(found)?, next: place(&next)?, horizon: number(&horizon)? })
}

pub(super) fn found(value: Value) -> Read<Vec<Found>> {
    let one = |value| {
        let [last, found] = some(value)?;
        Ok(Found { last: place(&last)?, items: items(found)? })
    };
    list(value)?.into_iter().map(one).collect()
}

fn place(value: &Value) -> Read<Option<Seq>> {
    if *value == Value::Nil { Ok(None) } else { number(value).map(Some) }
}

fn items(value: Value) -> Read<Vec<Item>> {
    let item = |value| {
        let [seq, via, state_now, body] = some(value)?;
        Ok(Item { seq: number(&seq)?, via: target(via)?, message: message(body)?, state: state(&state_now)? })
    };
    list(value)?.into_iter().map(item).collect()
}

pub(super) fn marked(value: Value, to: State) -> Read<Marked> {
    let [changes, unknown, more] = some(value)?;
    let mut values = list(changes)?.into_iter();
    let mut changed = Vec::with_capacity(values.len() / 4);
    while let (Some(id), Some(seq), Some(from), Some(who)) =
        (values.next(), values.next(), values.next(), values.next())
    {
        let receipt = receipt_to(&text(who)?);
        changed.push(Change { id: name(id)?, seq: number(&seq)?, from: state(&from)?, to, receipt });
    }
    changed.sort_unstable_by_key(|change: &Change| change.seq);
    // Its places are neighbours: one message, one change.
    changed.dedup_by(|change, before| change.id == before.id);
    Ok(Marked { changed, unknown: names(unknown)?, more: number(&more)? > 0 })
}

pub(super) fn deleted(value: Value) -> Read<Deleted> {
    let [removed, unknown] = some(value)?;
    Ok(Deleted { removed: names(removed)?, unknown: names(unknown)? })
}

pub(super) fn resent(value: Value, user: &Arc<str>) -> Read<Option<Item>> {
    if value == Value::Nil {
        return Ok(None);
    }
    let [seq, body] = some(value)?;
    let via = Target::User(Arc::clone(user));
    Ok(Some(Item { seq: number(&seq)?, via, message: message(body)?, state: State::Pending }))
}

pub(super) fn trace(value: Value) -> Read<Option<Trace>> {
    if value == Value::Nil {
        return Ok(None);
    }
    let [at, due, via, seq, receipt] = some(value)?;
    let [now, delivered, seen, read, archived, sent, times, why, withheld_at, gone, gone_at, _] = some(receipt)?;
    let set = |value: &Value| number(value).map(|time| (time > 0).then_some(time));
    let mut reached = Vec::new();
    for (state, at) in State::ALL.into_iter().skip(1).zip([delivered, seen, read, archived]) {
        reached.extend(set(&at)?.map(|at| (state, at)));
    }
    let gone = match number(&gone)? {
        0 => None,
        1 => Some(Gone::Deleted),
        2 => Some(Gone::Expired),
        3 => Some(Gone::Dropped),
        4 => Some(Gone::Trimmed),
        _ => Some(Gone::Resent),
    };
    let times = u32::try_from(number(&times)?).unwrap_or(u32::MAX);
    let (withheld, sent) = (set(&withheld_at)?, number(&sent)?);
    let (why, gone_at) = (text(why)?, number(&gone_at)?);
    Ok(Some(Trace {
        stored_at: number(&at)?,
        scheduled_for: set(&due)?,
        place: if number(&seq)? == 0 { None } else { Some((target(via)?, number(&seq)?)) },
        state: state(&now)?,
        reached,
        sent: (times > 0).then_some((sent, times)),
        withheld: withheld.map(|at| (why, at)),
        gone: gone.map(|gone| (gone, gone_at)),
    }))
}
