//! A token while nobody knows what time it is: the system's clock has jumped.

use serde_json::json;

use super::*;
use crate::policy::Now;

const HOUR: u64 = 3_600;

/// Whether a token of these claims is accepted while it is `NOW`, or an hour earlier, or later.
fn check(claims: &Value, expect: Result<(), TokenError>) {
    let token = mint(SECRET, claims.as_object().unwrap()).unwrap();
    for (earliest, latest) in [(NOW - HOUR, NOW), (NOW, NOW + HOUR)] {
        let now = Now { earliest, latest, steady: 7 };
        let got = verifier(hs256()).verify_now(&token, now).expect("local keys need no await").map(drop);
        same(&format!("{claims} between {earliest} and {latest}"), &got, &expect);
    }
}

#[test]
fn a_token_must_be_good_by_both_clocks() {
    check(&json!({"sub": "u1", "exp": NOW + 2 * HOUR}), Ok(()));
    check(&json!({"sub": "u1", "iat": NOW, "exp": NOW + 2 * HOUR}), Ok(()));
    check(&json!({"sub": "u1", "exp": NOW - 60}), Err(TokenError::Expired { at: NOW - 60 }));
    check(&json!({"sub": "u1", "nbf": NOW + 60}), Err(TokenError::NotYetValid));
    check(&json!({"sub": "u1", "nbf": NOW - 2 * HOUR, "exp": NOW + 2 * HOUR}), Ok(()));
}
