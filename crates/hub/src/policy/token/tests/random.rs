//! Random and mutated tokens: nothing panics, nothing but the genuine token verifies.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

/// Every local way of accepting a token, together.
static ALL: LazyLock<Verifier> = LazyLock::new(|| {
    let pairs = [Pair::Secret(SECRET), Pair::Rsa, Pair::P256, Pair::Ed25519];
    let algorithms = [Algorithm::HS256, Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];
    let jwt = jwt(&algorithms, pairs.iter().map(|pair| pair.spec()).collect());
    let sessions = AuthJsSpec::new(vec!["s".into()]);
    Verifier::new(vec![VerifierSpec::Jwt(jwt), VerifierSpec::AuthJs(sessions)], None).unwrap()
});

fn accepted(token: &str) -> bool {
    verdict(&ALL, token, NOW).is_ok()
}

proptest! {
    #[test]
    fn any_text_is_refused(token in "\\PC{0,200}") {
        prop_assert!(!accepted(&token));
    }

    #[test]
    fn anything_token_shaped_is_refused(
        header in prop_oneof![
            Just(r#"{"alg":"HS256"}"#), Just(r#"{"alg":"ES256","kid":"1"}"#), Just(r#"{"alg":"RS256"}"#),
            Just(r#"{"alg":"EdDSA"}"#), Just(r#"{"alg":"dir","enc":"A256CBC-HS512"}"#),
            Just(r#"{"alg":"dir","enc":"A256GCM"}"#), Just(r#"{"alg":"none"}"#),
        ],
        parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 1..5),
    ) {
        let mut token = encode(header);
        for part in &parts {
            token.push('.');
            // `dir` has an empty second part.
            if !(header.contains("dir") && token.matches('.').count() == 1) {
                token.push_str(&encode(part));
            }
        }
        prop_assert!(!accepted(&token));
    }

    #[test]
    fn no_byte_of_a_token_can_be_changed(position in any::<prop::sample::Index>(), byte in 1..128u8) {
        let token = sign(Pair::Secret(SECRET), Algorithm::HS256, None, &claims());
        prop_assert!(accepted(&token));
        let mut bytes = token.clone().into_bytes();
        let position = position.index(bytes.len());
        bytes[position] = byte;
        let changed = String::from_utf8(bytes).unwrap();
        prop_assert_eq!(accepted(&changed), changed == token);
    }

    #[test]
    fn any_payload_is_read_or_refused_without_a_panic(payload in "\\PC{0,80}|[\\[\\]{}\":,0-9.eE+-]{0,80}") {
        let token = sign_text(Pair::Secret(SECRET), Algorithm::HS256, r#"{"alg":"HS256"}"#, &payload);
        if accepted(&token) {
            prop_assert!(serde_json::from_str::<serde_json::Map<String, Value>>(&payload).is_ok());
        }
    }

    #[test]
    fn cookies_never_panic(header in "\\PC{0,100}", name in "\\PC{0,10}") {
        let _ = cookie::get(&header, &name);
        let _ = cookie::session_token(&header, &name);
    }
}
