//! Opaque tokens: what an answer means, how long it is believed, and what the backend is spared.

use serde_json::json;

use super::*;

fn asking(spec: IntrospectSpec, backend: Backend) -> (Arc<Backend>, Arc<Verifier>) {
    let (backend, fetch) = shared(backend);
    (backend, Arc::new(Verifier::new(vec![VerifierSpec::Introspect(spec)], Some(&fetch)).unwrap()))
}

fn spec() -> IntrospectSpec {
    IntrospectSpec::new("http://backend.example/introspect")
}

fn bearer() -> IntrospectSpec {
    IntrospectSpec { question: Question::Bearer, ..spec() }
}

fn active() -> Result<(u16, String), FetchError> {
    Ok((200, json!({"active": true, "sub": "u1", "exp": NOW + 20}).to_string()))
}

#[tokio::test(start_paused = true)]
async fn what_an_answer_means() {
    let good = || Ok(());
    let (inactive, unavailable) = (Err(TokenError::Inactive), Err(TokenError::Unavailable));
    let rows = [
        (spec(), 200, r#"{"active":true}"#, good()),
        (spec(), 200, r#"{"active":false}"#, inactive),
        (spec(), 200, r#"{"active":"true"}"#, inactive),
        (spec(), 200, r#"{"sub":"u1"}"#, inactive),
        (spec(), 200, r#"{"active":false,"active":true}"#, unavailable),
        (spec(), 200, "true", unavailable),
        (spec(), 200, "", unavailable),
        (spec(), 401, "", unavailable),
        (spec(), 302, r#"{"active":true}"#, unavailable),
        (spec(), 500, r#"{"active":true}"#, unavailable),
        (spec(), 200, r#"{"active":true,"exp":1}"#, Err(TokenError::Expired { at: 1 })),
        (spec(), 200, r#"{"active":true,"exp":"soon"}"#, Err(TokenError::Malformed)),
        (bearer(), 200, r#"{"id":7}"#, good()),
        (bearer(), 200, "{}", inactive),
        (bearer(), 200, " null\n", inactive),
        (bearer(), 200, r#"{"id":7,"active":false}"#, inactive),
        (bearer(), 401, "", inactive),
        (bearer(), 404, "", inactive),
        (bearer(), 429, "", unavailable),
        (bearer(), 200, "<html>", unavailable),
    ];
    for (spec, status, body, want) in rows {
        let name = format!("{:?} {status} {body}", spec.question);
        let (_, verifier) = asking(spec, Backend::new([Ok((status, body.to_owned()))]));
        same(&name, &verifier.verify("opaque", NOW).await.map(drop), &want);
    }
    let (_, verifier) =
        asking(spec(), Backend::new([Ok((200, format!(r#"{{"active":true,"x":"{}"}}"#, "x".repeat(70_000))))]));
    assert_eq!(verifier.verify("opaque", NOW).await.map(drop), unavailable);
}

#[tokio::test(start_paused = true)]
async fn how_it_is_asked() {
    let with_key = |spec: IntrospectSpec| IntrospectSpec { headers: vec![("x-key".into(), "k".into())], ..spec };
    let (backend, verifier) = asking(with_key(spec()), Backend::new([active()]));
    verifier.verify("a+b/c=&active=1", NOW).await.unwrap();
    let asked = backend.requests.lock()[0].clone();
    assert_eq!(asked.body, "token=a%2Bb%2Fc%3D%26active%3D1");
    assert!(asked.headers.contains(&("x-key".into(), "k".into())));
    assert!(!format!("{asked:?}").contains("token"), "a request's Debug tells no secret");

    let (backend, verifier) = asking(with_key(bearer()), Backend::new([active()]));
    verifier.verify("opaque", NOW).await.unwrap();
    assert!(backend.requests.lock()[0].headers.contains(&("authorization".into(), "Bearer opaque".into())));
    for hostile in ["a\r\nx-admin: 1", "a b", "t\u{f6}ken", "\0"] {
        assert_eq!(verdict(&verifier, hostile, NOW), Err(TokenError::Malformed), "{hostile:?}");
    }
    assert_eq!(backend.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn answers_are_kept_for_their_time_but_never_past_exp() {
    let (backend, verifier) = asking(spec(), Backend::new([active()]));
    assert!(verifier.verify_now("opaque", NOW).is_none());
    assert_eq!(verifier.verify("opaque", NOW).await.unwrap().expires_at, Some(NOW + 20));
    assert_eq!(verdict(&verifier, "opaque", NOW + 19), Ok(()));
    assert_eq!(verdict(&verifier, "opaque", NOW + 20), Err(TokenError::Expired { at: NOW + 20 }));
    assert_eq!(backend.calls(), 1);
    assert!(verifier.verify_now("opaque", NOW + 30).is_none(), "asked again after 30 seconds");

    backend.answer(Ok((200, r#"{"active":false}"#.into())));
    assert_eq!(verifier.verify("other", NOW).await, Err(TokenError::Inactive));
    assert_eq!(verdict(&verifier, "other", NOW + 4), Err(TokenError::Inactive));
    assert!(verifier.verify_now("other", NOW + 5).is_none());

    backend.answer(Err(FetchError::Timeout));
    assert_eq!(verifier.verify("third", NOW).await, Err(TokenError::Unavailable));
    backend.answer(active());
    assert!(verifier.verify("third", NOW).await.is_ok(), "a failure is not remembered");
}

#[tokio::test(start_paused = true)]
async fn the_cache_is_bounded_and_drops_what_would_end_soonest() {
    let small = IntrospectSpec { cache_entries: 2, ..spec() };
    let (backend, verifier) = asking(small, Backend::new([active()]));
    verifier.verify("good", NOW).await.unwrap();
    backend.answer(Ok((200, r#"{"active":false}"#.into())));
    for guess in 0..50 {
        assert_eq!(verifier.verify(&format!("guess-{guess}"), NOW).await, Err(TokenError::Inactive));
    }
    assert_eq!(verdict(&verifier, "good", NOW + 1), Ok(()), "guessing does not push good answers out");
    assert!(verifier.verify_now("guess-0", NOW).is_none());
}

#[tokio::test(start_paused = true)]
async fn one_question_at_a_time_per_token_and_not_too_many_at_once() {
    let slow = |answer| Backend { delay: Duration::from_secs(1), ..Backend::new([answer]) };
    let (backend, verifier) = asking(spec(), slow(active()));
    let ask = |token: String| {
        let verifier = Arc::clone(&verifier);
        tokio::spawn(async move { verifier.verify(&token, NOW).await.map(drop) })
    };
    let same_token: Vec<_> = (0..50).map(|_| ask("opaque".into())).collect();
    for asked in same_token {
        assert_eq!(asked.await.unwrap(), Ok(()));
    }
    assert_eq!(backend.calls(), 1);
    let many: Vec<_> = (0..MAX_CONCURRENT_QUESTIONS + 10).map(|i| ask(format!("t{i}"))).collect();
    let mut refused = 0;
    for asked in many {
        refused += usize::from(asked.await.unwrap() == Err(TokenError::Unavailable));
    }
    assert_eq!(refused, 10);
    assert_eq!(ask("t-later".into()).await.unwrap(), Ok(()), "places are given back");
}

#[tokio::test(start_paused = true)]
async fn a_login_that_goes_away_does_not_take_the_others_along() {
    let (backend, verifier) = asking(spec(), Backend { delay: Duration::from_secs(1), ..Backend::new([active()]) });
    let ask = || {
        let verifier = Arc::clone(&verifier);
        tokio::spawn(async move { verifier.verify("opaque", NOW).await.map(drop) })
    };
    let (first, second) = (ask(), ask());
    tokio::task::yield_now().await;
    first.abort();
    assert_eq!(second.await.unwrap(), Ok(()));
    assert_eq!(backend.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_hangs_is_given_up() {
    let (_, verifier) = asking(spec(), Backend { delay: Duration::from_secs(600), ..Backend::new([active()]) });
    let started = tokio::time::Instant::now();
    assert_eq!(verifier.verify("opaque", NOW).await.map(drop), Err(TokenError::Unavailable));
    assert_eq!(started.elapsed(), Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn beside_local_keys_only_what_they_refuse_is_asked_about() {
    let (backend, fetch) = shared(Backend::new([active()]));
    let specs = vec![VerifierSpec::Introspect(spec()), VerifierSpec::Jwt(hs256())];
    let verifier = Verifier::new(specs, Some(&fetch)).unwrap();
    let good = sign(Pair::Secret(SECRET), Algorithm::HS256, None, &claims());
    assert_eq!(verdict(&verifier, &good, NOW), Ok(()));
    assert_eq!(backend.calls(), 0);
    assert!(verifier.verify("opaque", NOW).await.is_ok());
}
