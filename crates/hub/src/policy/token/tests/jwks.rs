//! Key sets behind a URL: rotation, what it costs the publisher, and what happens when he is away.

use jsonwebtoken::Algorithm::{ES256, EdDSA, HS256, RS256};
use serde_json::json;

use super::*;

fn set(keys: &[Value]) -> Result<(u16, String), FetchError> {
    Ok((200, json!({ "keys": keys }).to_string()))
}

fn remote(fetch: &Arc<dyn Fetch>) -> Verifier {
    let jwks = JwksSpec::new("https://id.example/keys");
    let spec = JwtSpec { jwks: Some(jwks), ..jwt(&[RS256, ES256, EdDSA, HS256], vec![]) };
    Verifier::new(vec![VerifierSpec::Jwt(spec)], Some(fetch)).unwrap()
}

async fn verify(verifier: &Verifier, token: &str, now: u64) -> Result<(), TokenError> {
    verifier.verify(token, now).await.map(drop)
}

/// A token that stays good for the whole test.
fn token(pair: Pair, algorithm: Algorithm, id: Option<&str>) -> String {
    sign(pair, algorithm, id, &json!({"sub": "u1", "exp": NOW + 100_000}))
}

#[tokio::test(start_paused = true)]
async fn many_first_logins_cause_one_request() {
    let backend = Backend { delay: Duration::from_secs(1), ..Backend::new([set(&[Pair::Rsa.jwk("1", RS256)])]) };
    let (backend, fetch) = shared(backend);
    let verifier = Arc::new(remote(&fetch));
    let good = token(Pair::Rsa, RS256, Some("1"));
    assert!(verifier.verify_now(&good, NOW).is_none(), "there are no keys yet");
    let logins: Vec<_> = (0..100)
        .map(|_| {
            let (verifier, good) = (Arc::clone(&verifier), good.clone());
            tokio::spawn(async move { verify(&verifier, &good, NOW).await })
        })
        .collect();
    for login in logins {
        assert_eq!(login.await.unwrap(), Ok(()));
    }
    assert_eq!(backend.calls(), 1);
    assert_eq!(verdict(&verifier, &good, NOW + 599), Ok(()), "no await once there are keys");
}

#[tokio::test(start_paused = true)]
async fn a_rotated_key_is_found_and_a_withdrawn_one_forgotten() {
    let (old, new) = (Pair::Rsa.jwk("1", RS256), Pair::P256.jwk("2", ES256));
    let (backend, fetch) =
        shared(Backend::new([set(std::slice::from_ref(&old)), set(&[old, new.clone()]), set(&[new])]));
    let verifier = remote(&fetch);
    let (signed_old, signed_new) = (token(Pair::Rsa, RS256, Some("1")), token(Pair::P256, ES256, Some("2")));
    assert_eq!(verify(&verifier, &signed_old, NOW).await, Ok(()));
    assert_eq!(verify(&verifier, &signed_new, NOW).await, Ok(()), "at once, however young the other keys are");
    assert_eq!(verify(&verifier, &signed_old, NOW + 31).await, Ok(()));
    assert_eq!(backend.calls(), 2);
    assert_eq!(verify(&verifier, &signed_old, NOW + 600).await, Err(TokenError::UnknownKey), "refreshed by age");
    assert_eq!(backend.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn forged_tokens_cannot_make_us_ask_often() {
    let (backend, fetch) = shared(Backend::new([set(&[Pair::Rsa.jwk("1", RS256)])]));
    let verifier = remote(&fetch);
    for second in 0..120 {
        let id = format!("forged-{second}");
        let forged = token(Pair::P256, ES256, Some(&id));
        assert_eq!(verify(&verifier, &forged, NOW + second).await, Err(TokenError::UnknownKey));
    }
    assert_eq!(backend.calls(), 5, "for the first keys, and then once per 30 seconds");
    let misused = sign_text(Pair::P256, ES256, r#"{"alg":"RS256","kid":"1"}"#, "{}");
    assert_eq!(verify(&verifier, &misused, NOW + 500).await, Err(TokenError::BadSignature));
    assert_eq!(backend.calls(), 5, "a known kid is no reason to ask");
}

#[tokio::test(start_paused = true)]
async fn old_keys_serve_while_the_publisher_is_away() {
    let (backend, fetch) = shared(Backend::new([set(&[Pair::Ed25519.jwk("1", EdDSA)])]));
    let verifier = remote(&fetch);
    let good = token(Pair::Ed25519, EdDSA, Some("1"));
    assert_eq!(verify(&verifier, &good, NOW).await, Ok(()));
    let failures = [
        Err(FetchError::Timeout),
        Ok((500, String::new())),
        Ok((302, String::new())),
        Ok((200, "<html>".into())),
        Ok((200, r#"{"keys":[]}"#.into())),
        Ok((200, json!({"keys": [Pair::Secret(SECRET).jwk("1", HS256)]}).to_string())),
        Ok((200, format!(r#"{{"keys":[],"pad":"{}"}}"#, "x".repeat(MAX_JWKS_BYTES)))),
    ];
    for (round, failure) in (1..).zip(failures) {
        backend.answer(failure);
        let now = NOW + round * 600;
        assert_eq!(verify(&verifier, &good, now).await, Ok(()), "round {round}");
        assert_eq!(backend.calls(), usize::try_from(round).unwrap() + 1);
        assert_eq!(verdict(&verifier, &good, now + 29), Ok(()), "and nobody waits for the next 30 seconds");
    }
    let with_secret = token(Pair::Secret(SECRET), HS256, Some("1"));
    assert_eq!(
        verify(&verifier, &with_secret, NOW + 9000).await,
        Err(TokenError::UnknownKey),
        "secrets are not fetched"
    );
}

#[tokio::test(start_paused = true)]
async fn without_any_keys_the_answer_is_unavailable_and_soon_tried_again() {
    let (backend, fetch) = shared(Backend::new([Err(FetchError::Timeout), set(&[Pair::Rsa.jwk("1", RS256)])]));
    let verifier = remote(&fetch);
    let good = token(Pair::Rsa, RS256, None);
    assert_eq!(verify(&verifier, &good, NOW).await, Err(TokenError::Unavailable));
    assert_eq!(verify(&verifier, &good, NOW + 1).await, Err(TokenError::Unavailable));
    assert_eq!(backend.calls(), 1);
    assert_eq!(verify(&verifier, &good, NOW + 2).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn who_connects_and_leaves_does_not_stop_the_refresh() {
    let backend = Backend { delay: Duration::from_secs(1), ..Backend::new([set(&[Pair::Rsa.jwk("1", RS256)])]) };
    let (backend, fetch) = shared(backend);
    let verifier = Arc::new(remote(&fetch));
    let login = |id: &str| {
        let (verifier, token) = (Arc::clone(&verifier), token(Pair::Rsa, RS256, Some(id)));
        tokio::spawn(async move { verify(&verifier, &token, NOW).await })
    };
    let (leaving, staying) = (login("no such key"), login("1"));
    tokio::task::yield_now().await;
    leaving.abort();
    assert_eq!(staying.await.unwrap(), Ok(()));
    assert_eq!(backend.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_publisher_that_hangs_is_given_up() {
    let slow = Backend { delay: Duration::from_secs(3600), ..Backend::new([set(&[Pair::Rsa.jwk("1", RS256)])]) };
    let (_, fetch) = shared(slow);
    let started = tokio::time::Instant::now();
    assert_eq!(verify(&remote(&fetch), &token(Pair::Rsa, RS256, None), NOW).await, Err(TokenError::Unavailable));
    assert_eq!(started.elapsed(), Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_does_not_stop_refreshing() {
    let (backend, fetch) = shared(Backend::new([set(&[Pair::Rsa.jwk("1", RS256)])]));
    let verifier = remote(&fetch);
    let good = token(Pair::Rsa, RS256, None);
    assert_eq!(verify(&verifier, &good, NOW).await, Ok(()));
    assert_eq!(verify(&verifier, &good, NOW - 50_000).await, Ok(()));
    assert_eq!(backend.calls(), 2);
}

#[test]
fn bad_settings_are_refused() {
    let (_, fetch) = shared(Backend::default());
    let build = |jwks: JwksSpec| {
        let spec = JwtSpec { jwks: Some(jwks), ..jwt(&[RS256], vec![]) };
        Verifier::new(vec![VerifierSpec::Jwt(spec)], Some(&fetch)).err().map(|e| e.to_string()).unwrap_or_default()
    };
    for url in ["", "keys", "file:///etc/passwd", "https://", "https:///x", "http://a b", "ftp://x"] {
        assert!(build(JwksSpec::new(url)).contains("URL"), "{url}");
    }
    assert!(build(JwksSpec { refresh_seconds: 29, ..JwksSpec::new("https://x") }).contains("29"));
    assert!(build(JwksSpec { timeout: Duration::ZERO, ..JwksSpec::new("https://x") }).contains("timeout"));
}
