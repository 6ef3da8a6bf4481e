//! What happened to a message with a user.

use super::entry::{id_record, locate, place_of, receipt};
use crate::store::engine::{Transaction, View};
use crate::store::error::StoreError;
use crate::store::key;
use crate::store::message::{Owner, State, Step, Trace};

/// Notes a step.
pub(super) fn note(
    transaction: &mut Transaction<'_>,
    of: &Owner,
    id: &str,
    step: Step,
    now: u64,
) -> Result<bool, StoreError> {
    let Some((target, seq, _)) = locate(transaction, of, id)? else { return Ok(false) };
    let mut receipt = receipt(transaction, &of.app, &target, seq, &of.user)?;
    match step {
        Step::Sent => {
            let (first, times) = receipt.sent.unwrap_or((now, 0));
            // Sessions tell of it when they end, the one that began first perhaps last.
            receipt.sent = Some((first.min(now), times.saturating_add(1)));
        }
        Step::Withheld(reason) => receipt.withheld = Some((reason, now)),
    }
    transaction.put(key::receipt(&of.app, &target, seq, &of.user), &receipt);
    Ok(true)
}

/// Tells it.
pub(super) fn trace(view: &dyn View, of: &Owner, id: &str) -> Result<Option<Trace>, StoreError> {
    let Some(record) = id_record(view, &of.app, id)? else { return Ok(None) };
    let mut trace = Trace {
        stored_at: record.at,
        scheduled_for: record.scheduled.map(|(due, _)| due),
        place: None,
        state: State::Pending,
        reached: Vec::new(),
        sent: None,
        withheld: None,
        gone: None,
    };
    let Some((target, seq, _)) = place_of(view, of, &record)? else { return Ok(Some(trace)) };
    let own = receipt(view, &of.app, &target, seq, &of.user)?;
    let entry = receipt(view, &of.app, &target, seq, "")?;
    trace.place = Some((target, seq));
    trace.state = own.state;
    let reached = State::ALL.into_iter().skip(1).zip(own.reached);
    trace.reached = reached.filter_map(|(state, at)| Some((state, at?))).collect();
    trace.sent = own.sent;
    trace.withheld = own.withheld;
    trace.gone = own.gone.or(entry.gone);
    Ok(Some(trace))
}
