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
    assert_eq!(verify(&verifier, &signed_new, NOW + 30).await, Err(TokenError::UnknownKey), "a fraction too early");
    assert_eq!(verify(&verifier, &signed_new, NOW + 31).await, Ok(()));
    assert_eq!(verify(&verifier, &signed_old, NOW + 62).await, Ok(()));
    assert_eq!(backend.calls(), 2);
    assert_eq!(verify(&verifier, &signed_old, NOW + 631).await, Err(TokenError::UnknownKey), "refreshed by age");
    assert_eq!(backend.calls(), 3);
}

/// When keys are asked for, in seconds from the beginning, while every second brings a forged token and a good one.
async fn asked(answers: impl Fn(u64) -> Result<(u16, String), FetchError>, seconds: u64) -> Vec<u64> {
    let (backend, fetch) = shared(Backend::default());
    let verifier = remote(&fetch);
    let good = token(Pair::Rsa, RS256, Some("1"));
    let mut asked = Vec::new();
    for second in 0..seconds {
        backend.answer(answers(second));
        let before = backend.calls();
        let forged = token(Pair::P256, ES256, Some(&format!("forged-{second}")));
        for shown in [&forged, &good, &forged] {
            let _ = verify(&verifier, shown, NOW + second).await;
        }
        asked.extend(std::iter::repeat_n(second, backend.calls() - before));
    }
    asked
}

#[tokio::test(start_paused = true)]
async fn forged_tokens_cannot_make_us_ask_often() {
    let keys = || set(&[Pair::Rsa.jwk("1", RS256)]);
    assert_eq!(asked(|_| keys(), 125).await, [0, 31, 62, 93, 124]);
    let breaks = |second| if second == 0 { keys() } else { Err(FetchError::Timeout) };
    assert_eq!(asked(breaks, 125).await, [0, 31, 62, 93, 124], "nor where the publisher fails");
    let (backend, fetch) = shared(Backend::new([keys()]));
    let verifier = remote(&fetch);
    assert_eq!(verify(&verifier, &token(Pair::Rsa, RS256, Some("1")), NOW).await, Ok(()));
    let misused = sign_text(Pair::P256, ES256, r#"{"alg":"RS256","kid":"1"}"#, "{}");
    assert_eq!(verify(&verifier, &misused, NOW + 500).await, Err(TokenError::BadSignature));
    assert_eq!(backend.calls(), 1, "a known kid is no reason to ask");
}

#[tokio::test(start_paused = true)]
async fn keys_that_are_old_and_keys_that_are_wanted_share_one_pause() {
    let (backend, fetch) = shared(Backend::new([set(&[Pair::Rsa.jwk("1", RS256)])]));
    let verifier = remote(&fetch);
    let (good, forged) = (token(Pair::Rsa, RS256, Some("1")), token(Pair::P256, ES256, Some("2")));
    assert_eq!(verify(&verifier, &good, NOW).await, Ok(()));
    assert_eq!(verify(&verifier, &forged, NOW + 599).await, Err(TokenError::UnknownKey));
    assert_eq!(backend.calls(), 2);
    backend.answer(Err(FetchError::Timeout));
    assert_eq!(verify(&verifier, &good, NOW + 1199).await, Ok(()));
    assert_eq!(backend.calls(), 3, "by age");
    assert_eq!(verify(&verifier, &forged, NOW + 1229).await, Err(TokenError::UnknownKey));
    assert_eq!(backend.calls(), 3, "a failed request counts");
    assert_eq!(verify(&verifier, &forged, NOW + 1230).await, Err(TokenError::UnknownKey));
    assert_eq!(backend.calls(), 4);
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
async fn without_any_keys_the_answer_is_unavailable_and_the_pauses_grow() {
    let (backend, fetch) = shared(Backend::new([Err(FetchError::Timeout), set(&[Pair::Rsa.jwk("1", RS256)])]));
    let verifier = remote(&fetch);
    let good = token(Pair::Rsa, RS256, None);
    assert_eq!(verify(&verifier, &good, NOW).await, Err(TokenError::Unavailable));
    assert_eq!(verify(&verifier, &good, NOW + 2).await, Err(TokenError::Unavailable));
    assert_eq!(backend.calls(), 1);
    assert_eq!(verify(&verifier, &good, NOW + 3).await, Ok(()));
    assert_eq!(asked(|_| Err(FetchError::Timeout), 100).await, [0, 3, 8, 17, 34, 65, 96]);
    let late = |second| if second < 3 { Ok((500, String::new())) } else { set(&[Pair::Rsa.jwk("1", RS256)]) };
    assert_eq!(asked(late, 66).await, [0, 3, 34, 65], "once there are keys, the pause is the long one");
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
async fn a_clock_that_is_set_neither_hastens_nor_stops_refreshing() {
    let (backend, fetch) = shared(Backend::new([set(&[Pair::Rsa.jwk("1", RS256)])]));
    let verifier = remote(&fetch);
    let good = token(Pair::Rsa, RS256, None);
    for (wall, steady, calls) in [(NOW, 0, 1), (NOW + 50_000, 1, 1), (NOW - 50_000, 599, 1), (NOW - 50_000, 600, 2)] {
        let now = crate::policy::Now { earliest: wall, latest: wall, steady };
        assert_eq!(verifier.verify(&good, now).await.map(drop), Ok(()));
        assert_eq!(backend.calls(), calls, "{wall}, {steady}");
    }
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
