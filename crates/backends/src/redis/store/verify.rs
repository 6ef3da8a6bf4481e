//! Whether all records agree with each other, a part at a time.

use std::collections::BTreeSet;

use oyez_hub::store::{Damage, StoreError, Target};
use redis::Value;

use super::script::{Call, Script};
use super::{RedisStore, answer};

/// Targets that are looked at in one question.
const TARGETS: usize = 100;

/// Reads the records of all apps.
pub(super) async fn all(store: &RedisStore) -> Result<Vec<Damage>, StoreError> {
    let mut damage = Vec::new();
    for app in store.apps().await? {
        let (mut targets, mut cursor) = (BTreeSet::new(), "0".to_owned());
        loop {
            let call = Call::new(Script::Verify, app.clone()).arg(cursor.as_bytes());
            let [next, found, wrong] = answer::some(store.ask(call).await?)?;
            targets.extend(answer::targets(found)?);
            note(&app, wrong, &mut damage)?;
            cursor = answer::text(next)?;
            if cursor == "0" {
                break;
            }
        }
        let targets: Vec<Target> = targets.into_iter().collect();
        for some in targets.chunks(TARGETS) {
            let mut call = Call::new(Script::Verify, app.clone()).arg("0");
            call.args.extend(some.iter().map(answer::written));
            let [_, _, wrong] = answer::some(store.ask(call).await?)?;
            note(&app, wrong, &mut damage)?;
        }
    }
    Ok(damage)
}

fn note(app: &str, wrong: Value, damage: &mut Vec<Damage>) -> Result<(), StoreError> {
    for pair in answer::names(wrong)?.chunks_exact(2) {
        damage.push(Damage { place: format!("{app} {}", pair[0]), what: pair[1].to_string() });
    }
    Ok(())
}
