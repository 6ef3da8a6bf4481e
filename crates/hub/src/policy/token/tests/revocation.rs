//! Revocations: whom they hit, for how long, and that there is no way around them.

use super::*;

const LATER: u64 = NOW + 1000;

#[test]
fn by_token_user_and_date() {
    let all = Revocations::default();
    assert!(!all.is_revoked("u1", "t1", None, NOW));
    all.revoke(Revocation::Token("t1".into()), LATER, NOW).unwrap();
    all.revoke(Revocation::User("u2".into()), LATER, NOW).unwrap();
    all.revoke(Revocation::IssuedBefore { user: Some("u3".into()), at: NOW }, LATER, NOW).unwrap();
    let rows = [
        ("the token", "u1", "t1", Some(NOW), true),
        ("whoever holds it", "u9", "t1", None, true),
        ("another token of the user", "u1", "t2", Some(NOW), false),
        ("a token of the user", "u2", "t2", Some(NOW), true),
        ("a newer one too", "u2", "t3", Some(LATER), true),
        ("a token id that equals a user", "t1", "u2", Some(NOW), false),
        ("issued before", "u3", "t4", Some(NOW - 1), true),
        ("issued in that second", "u3", "t4", Some(NOW), false),
        ("issued who knows when", "u3", "t4", None, true),
        ("somebody else's, older", "u4", "t4", Some(1), false),
    ];
    for (name, user, token, issued, want) in rows {
        same(name, &all.is_revoked(user, token, issued, NOW), &want);
        same(name, &all.is_revoked(user, token, issued, LATER), &false);
    }
    all.revoke(Revocation::IssuedBefore { user: None, at: NOW - 5 }, LATER, NOW).unwrap();
    assert!(all.is_revoked("u4", "t4", Some(NOW - 6), NOW));
    assert!(!all.is_revoked("u4", "t4", Some(NOW - 5), NOW));
    assert!(!all.is_revoked("u4", "t4", Some(NOW - 6), LATER));
}

#[test]
fn revoking_again_never_weakens() {
    let all = Revocations::default();
    for (at, until) in [(NOW, LATER), (NOW - 100, NOW + 1)] {
        all.revoke(Revocation::IssuedBefore { user: Some("u".into()), at }, until, NOW).unwrap();
        all.revoke(Revocation::IssuedBefore { user: None, at: at - 50 }, until, NOW).unwrap();
        all.revoke(Revocation::Token("t".into()), until, NOW).unwrap();
    }
    assert!(all.is_revoked("u", "x", Some(NOW - 1), LATER - 1));
    assert!(all.is_revoked("v", "x", Some(NOW - 51), LATER - 1));
    assert!(all.is_revoked("v", "t", Some(NOW), LATER - 1));
}

#[test]
fn a_token_without_an_id_is_named_by_its_hash() {
    let all = Revocations::default();
    let token = sign(Pair::Secret(SECRET), Algorithm::HS256, None, &claims());
    let verified = verifier(hs256()).verify_now(&token, NOW).unwrap().unwrap();
    all.revoke(Revocation::Token(hash_id(&token).to_ascii_uppercase().replace("SHA", "sha").into()), LATER, NOW)
        .unwrap();
    assert!(all.is_revoked("u1", &verified.token_id, verified.issued_at, NOW));
}

#[test]
fn a_full_list_refuses_rather_than_forgets() {
    let all = Revocations::new(2);
    let token = |id: &str| Revocation::Token(id.into());
    all.revoke(token("a"), NOW + 10, NOW).unwrap();
    all.revoke(token("b"), NOW + 20, NOW).unwrap();
    assert_eq!(all.revoke(token("c"), LATER, NOW), Err(RevokeError::Full(2)));
    all.revoke(token("a"), NOW + 15, NOW).unwrap();
    assert!(all.is_revoked("u", "a", None, NOW + 14));
    all.revoke(token("c"), LATER, NOW + 15).unwrap();
    assert!(all.is_revoked("u", "b", None, NOW + 15) && all.is_revoked("u", "c", None, NOW + 15));
    for name in [String::new(), "x".repeat(MAX_REVOKED_NAME_BYTES + 1)] {
        assert_eq!(all.revoke(Revocation::User(name.into()), LATER, NOW), Err(RevokeError::BadName));
    }
}
