//! What a client says of its user's messages: by the event that every app has for it, or by a rule of the app's own.

use std::sync::Arc;

use serde_json::Value;

use super::plan::misunderstood;
use super::{Cx, MarkRule, MarkWhich, Plan, Step};
use crate::policy::expression::{Fault, Scope};
use crate::store::{State, Which};

/// Messages that one event may name.
const IDS_MAX: usize = 1_000;

/// What a rule of the app makes of an event.
pub(super) fn by_rule(rule: &MarkRule, cx: &Cx<'_>, scope: &Scope<'_>, plan: &mut Plan) {
    let value = |shape: &crate::policy::expression::Shape| {
        shape.json(scope).and_then(|json| serde_json::from_str(&json).map_err(|_| Fault::Missing("ids".into())))
    };
    let which = match &rule.which {
        MarkWhich::All => Ok(Some(Which::All)),
        MarkWhich::Ids(shape) => value(shape).map(|value| ids(&value)),
        MarkWhich::UpTo(shape) => value(shape).map(|value: Value| value.as_str().map(|id| Which::UpTo(id.into()))),
    };
    match which {
        Ok(Some(which)) => plan.steps.push(Step::Mark(which, rule.state)),
        Ok(None) => plan.denied.push(misunderstood(cx, &Fault::Missing("ids of messages, at most 1000".into()))),
        Err(fault) => plan.denied.push(misunderstood(cx, &fault)),
    }
}

/// What the event that every app has for it means: `{id | ids | upTo | all, state}`, an id, or a list of them. In a frame
/// of a plain WebSocket, that may stand in `data` or `content`.
pub(super) fn by_event(cx: &Cx<'_>) -> Plan {
    let data: Value = serde_json::from_str(cx.data.get()).unwrap_or_default();
    let inner = ["data", "content"].iter().find_map(|name| data.get(name).filter(|inner| !inner.is_null()));
    let data = inner.unwrap_or(&data);
    let understood = state(data).ok_or_else(|| Fault::Unfit("data.state is delivered, seen, read or archived".into()));
    let understood = understood.and_then(|state| {
        let fault = || match namings(data) {
            0 | 1 => Fault::Missing("data.id, data.ids (at most 1000), data.upTo or data.all".into()),
            _ => Fault::Unfit("which messages? Give exactly one of data.id, data.ids, data.upTo and data.all".into()),
        };
        Ok(Step::Mark(which(data).ok_or_else(fault)?, state))
    });
    match understood {
        Ok(step) => Plan { steps: vec![step], ..Plan::default() },
        Err(fault) => Plan { denied: vec![misunderstood(cx, &fault)], ..Plan::default() },
    }
}

fn state(data: &Value) -> Option<State> {
    match data.get("state") {
        None | Some(Value::Null) => Some(State::Delivered),
        Some(state) => serde_json::from_value(state.clone()).ok().filter(|state| *state > State::Pending),
    }
}

/// In how many ways messages are named. With several, some would be left out without a word. The `id` of a frame may be
/// a number, and then names none.
fn namings(data: &Value) -> usize {
    let names = |value: &Value| matches!(value, Value::String(_) | Value::Array(_) | Value::Bool(true));
    let is_given = |name: &&str| data.get(name).is_some_and(names);
    ["id", "ids", "upTo", "up_to", "all"].iter().filter(|name| is_given(name)).count()
}

fn which(data: &Value) -> Option<Which> {
    if namings(data) > 1 {
        return None;
    }
    let given = |name: &str| data.get(name).filter(|value| !value.is_null());
    if let Some(named) = given("ids").or_else(|| given("id")) {
        ids(named)
    } else if let Some(last) = given("upTo").or_else(|| given("up_to")) {
        Some(Which::UpTo(last.as_str()?.into()))
    } else if data.get("all") == Some(&Value::Bool(true)) {
        Some(Which::All)
    } else {
        ids(data)
    }
}

/// An id or a list of them.
fn ids(value: &Value) -> Option<Which> {
    let ids: Vec<Arc<str>> = match value {
        Value::String(id) => vec![id.as_str().into()],
        Value::Array(ids) => ids.iter().map(|id| id.as_str().map(Arc::from)).collect::<Option<_>>()?,
        _ => return None,
    };
    (1..=IDS_MAX).contains(&ids.len()).then_some(Which::Ids(ids))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(data: &Value, expect: Option<&(Which, State)>) {
        assert_eq!(which(data).zip(state(data)).as_ref(), expect, "{data}");
    }

    #[test]
    fn messages_are_named_in_several_ways() {
        let ids = |ids: &[&str]| Which::Ids(ids.iter().map(|id| Arc::from(*id)).collect());
        check(&json!("a"), Some(&(ids(&["a"]), State::Delivered)));
        check(&json!(["a", "b"]), Some(&(ids(&["a", "b"]), State::Delivered)));
        check(&json!({"id": "a", "state": "read"}), Some(&(ids(&["a"]), State::Read)));
        check(&json!({"ids": ["a"], "state": "archived"}), Some(&(ids(&["a"]), State::Archived)));
        check(&json!({"upTo": "a", "state": "seen"}), Some(&(Which::UpTo("a".into()), State::Seen)));
        check(&json!({"all": true, "state": null}), Some(&(Which::All, State::Delivered)));
        check(&json!({"id": "a", "ids": null, "upTo": null, "all": false}), Some(&(ids(&["a"]), State::Delivered)));
        check(&json!({"id": 7, "ids": ["a"]}), Some(&(ids(&["a"]), State::Delivered)));
        for bad in [
            json!(null),
            json!({}),
            json!({"all": false}),
            json!({"id": 5}),
            json!({"ids": []}),
            json!({"ids": vec!["a"; 1_001]}),
            json!({"id": "a", "state": "pending"}),
            json!({"id": "a", "state": "eaten"}),
            json!({"id": "a", "ids": ["b"]}),
            json!({"id": "a", "upTo": "b"}),
            json!({"ids": ["a"], "all": true}),
        ] {
            check(&bad, None);
        }
    }
}
