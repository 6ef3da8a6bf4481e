//! Attacks and edge cases on signed tokens, as tables of (name, token, what becomes of it).

use jsonwebtoken::Algorithm::{ES256, ES384, EdDSA, HS256, HS384, HS512, PS256, PS384, PS512, RS256, RS384, RS512};
use serde_json::{Value, json};

use super::*;

type Verdict = Result<(), TokenError>;
type Row = (&'static str, String, Verdict);

const SECRET_PAIR: Pair = Pair::Secret(SECRET);
const MALFORMED: Verdict = Err(TokenError::Malformed);
const BAD_SIGNATURE: Verdict = Err(TokenError::BadSignature);
const NOT_ALLOWED: Verdict = Err(TokenError::AlgorithmNotAllowed);

#[track_caller]
fn check(spec: JwtSpec, rows: Vec<Row>) {
    let verifier = verifier(spec);
    for (name, token, want) in rows {
        same(name, &verdict(&verifier, &token, NOW), &want);
    }
}

/// An HS256 token of the right secret with these claims.
fn hs(claims: &Value) -> String {
    sign(SECRET_PAIR, HS256, None, claims)
}

/// An HS256 token of the right secret with this header and payload, as text.
fn text(header: &str, payload: &str) -> String {
    sign_text(SECRET_PAIR, HS256, header, payload)
}

/// Good claims with one more, or one replaced.
fn with(name: &str, value: impl Into<Value>) -> Value {
    let mut claims = claims();
    claims[name] = value.into();
    claims
}

#[test]
fn every_algorithm_verifies_with_its_key_and_no_other() {
    let pairs = [
        (SECRET_PAIR, &[HS256, HS384, HS512][..]),
        (Pair::Rsa, &[RS256, RS384, RS512, PS256, PS384, PS512]),
        (Pair::P256, &[ES256]),
        (Pair::P384, &[ES384]),
        (Pair::Ed25519, &[EdDSA]),
    ];
    for (pair, algorithms) in pairs {
        for &algorithm in algorithms {
            let name = format!("{algorithm:?}");
            let token = sign(pair, algorithm, None, &claims());
            let only = verifier(jwt(&[algorithm], vec![pair.spec()]));
            same(&name, &verdict(&only, &token, NOW), &Ok(()));
            let mut forged = token.clone();
            let middle = token.rfind('.').unwrap() + 9;
            let other = if token.as_bytes()[middle] == b'A' { "B" } else { "A" };
            forged.replace_range(middle..=middle, other);
            same(&name, &verdict(&only, &forged, NOW), &BAD_SIGNATURE);
        }
    }
}

#[test]
fn shape_and_encoding() {
    let good = hs(&claims());
    let parts: Vec<&str> = good.split('.').collect();
    let (header, payload, signature) = (parts[0], parts[1], parts[2]);
    let claims_text = claims().to_string();
    let plain = r#"{"alg":"HS256"}"#;
    check(
        hs256(),
        vec![
            ("good", good.clone(), Ok(())),
            ("nothing", String::new(), Err(TokenError::Missing)),
            ("one byte too long", "a".repeat(MAX_TOKEN_BYTES + 1), Err(TokenError::TooLarge)),
            ("long but allowed", "a".repeat(MAX_TOKEN_BYTES), MALFORMED),
            ("long and genuine", hs(&with("pad", "x".repeat(13_000))), Err(TokenError::TooLarge)),
            ("a word", "hello".into(), MALFORMED),
            ("two parts", format!("{header}.{payload}"), MALFORMED),
            ("four parts", format!("{good}.x"), MALFORMED),
            ("five parts", format!("{header}..{payload}.{signature}.x"), MALFORMED),
            ("only dots", "..".into(), MALFORMED),
            ("no signature", format!("{header}.{payload}."), BAD_SIGNATURE),
            ("bearer left on", format!("Bearer {good}"), MALFORMED),
            ("space at the end", format!("{good} "), BAD_SIGNATURE),
            ("padded header", format!("{header}=.{payload}.{signature}"), MALFORMED),
            ("padded signature", format!("{good}="), BAD_SIGNATURE),
            ("standard base64 in the header", format!("+/+/.{payload}.{signature}"), MALFORMED),
            ("not ASCII", format!("{header}.{payload}.\u{fc}"), BAD_SIGNATURE),
            ("shorter signature", good[..good.len() - 4].into(), BAD_SIGNATURE),
            ("header and payload swapped", format!("{payload}.{header}.{signature}"), MALFORMED),
            ("payload of another token", format!("{header}.{}.{signature}", encode(r#"{"sub":"root"}"#)), BAD_SIGNATURE),
            ("header not JSON", text("alg", &claims_text), MALFORMED),
            ("header a list", text(r#"["HS256"]"#, &claims_text), MALFORMED),
            ("payload not JSON", text(plain, "hello"), MALFORMED),
            ("payload a string", text(plain, r#""u1""#), MALFORMED),
            ("payload with more behind it", text(plain, &format!("{claims_text}{{}}")), MALFORMED),
            (
                "payload not UTF-8",
                {
                    let message = format!("{}.{}", encode(plain), encode(b"{\"sub\":\"\xff\"}"));
                    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &SECRET_PAIR.private(), HS256).unwrap();
                    format!("{message}.{signature}")
                },
                MALFORMED,
            ),
            ("nested beyond reason", text(plain, &format!("{{\"a\":{}{}}}", "[".repeat(5000), "]".repeat(5000))), MALFORMED),
        ],
    );
}

#[test]
fn headers() {
    let body = claims().to_string();
    let header = |header: &Value| text(&header.to_string(), &body);
    let unsigned = |alg: &str| format!("{}.{}.", encode(json!({"alg": alg}).to_string()), encode(&body));
    check(
        hs256(),
        vec![
            ("alg none", unsigned("none"), NOT_ALLOWED),
            ("alg None", unsigned("None"), NOT_ALLOWED),
            ("alg NONE", unsigned("NONE"), NOT_ALLOWED),
            ("alg empty", unsigned(""), NOT_ALLOWED),
            ("alg in another case", header(&json!({"alg": "hs256"})), NOT_ALLOWED),
            ("no alg", header(&json!({"typ": "JWT"})), MALFORMED),
            ("alg not a string", header(&json!({"alg": ["HS256"]})), MALFORMED),
            ("alg null", header(&json!({"alg": null})), MALFORMED),
            ("alg twice", text(r#"{"alg":"none","alg":"HS256"}"#, &body), MALFORMED),
            ("alg twice, escaped", text(r#"{"alg":"HS256","\u0061lg":"none"}"#, &body), MALFORMED),
            ("another HMAC", sign(SECRET_PAIR, HS512, None, &claims()), NOT_ALLOWED),
            ("crit", header(&json!({"alg": "HS256", "crit": ["exp"], "exp": 1})), MALFORMED),
            ("crit empty", header(&json!({"alg": "HS256", "crit": []})), MALFORMED),
            ("unencoded payload", header(&json!({"alg": "HS256", "crit": ["b64"], "b64": false})), MALFORMED),
            ("unknown kid", header(&json!({"alg": "HS256", "kid": "../../dev/null"})), Ok(())),
            ("kid not a string", header(&json!({"alg": "HS256", "kid": 1})), MALFORMED),
            ("no typ", header(&json!({"alg": "HS256"})), Ok(())),
            ("jku is ignored", header(&json!({"alg": "HS256", "jku": "https://evil.example/keys"})), Ok(())),
            (
                "signed with the secret of its own header",
                sign_text(
                    Pair::Secret(b"mine"),
                    HS256,
                    &json!({"alg": "HS256", "jwk": {"kty": "oct", "k": encode("mine")}}).to_string(),
                    &body,
                ),
                BAD_SIGNATURE,
            ),
            (
                "signed with the key behind its own URL",
                sign_text(
                    Pair::Secret(b"mine"),
                    HS256,
                    r#"{"alg":"HS256","x5u":"https://evil.example/c","jku":"https://evil.example/k"}"#,
                    &body,
                ),
                BAD_SIGNATURE,
            ),
            ("another secret", sign(Pair::Secret(b"wrong"), HS256, None, &claims()), BAD_SIGNATURE),
            ("a zero byte as secret", sign(Pair::Secret(b"\0"), HS256, None, &claims()), BAD_SIGNATURE),
        ],
    );
}

#[test]
fn a_public_key_is_no_shared_secret() {
    let body = claims().to_string();
    let pem = Pair::Rsa.public_pem();
    let confused = sign_text(Pair::Secret(pem.as_bytes()), HS256, r#"{"alg":"HS256"}"#, &body);
    let trimmed = sign_text(Pair::Secret(pem.trim().as_bytes()), HS256, r#"{"alg":"HS256"}"#, &body);
    check(
        jwt(&[RS256], vec![Pair::Rsa.spec()]),
        vec![
            ("HS256 with the public key", confused.clone(), NOT_ALLOWED),
            ("PS256 where RS256 is pinned", sign(Pair::Rsa, PS256, None, &claims()), NOT_ALLOWED),
            ("good", sign(Pair::Rsa, RS256, None, &claims()), Ok(())),
        ],
    );
    let both = jwt(&[RS256, HS256], vec![Pair::Rsa.spec(), SECRET_PAIR.spec()]);
    check(
        both,
        vec![
            ("HS256 with the public key, both allowed", confused, BAD_SIGNATURE),
            ("the same without the line end", trimmed, BAD_SIGNATURE),
            ("good RS256", sign(Pair::Rsa, RS256, None, &claims()), Ok(())),
            ("good HS256", hs(&claims()), Ok(())),
            ("ES256 header over an RSA signature", sign_text(Pair::Rsa, RS256, r#"{"alg":"ES256"}"#, &body), NOT_ALLOWED),
        ],
    );
    let zeros = format!("{}.{}.{}", encode(r#"{"alg":"ES256"}"#), encode(&body), encode([0; 64]));
    let der = format!("{}.{}.{}", encode(r#"{"alg":"ES256"}"#), encode(&body), encode([0x30, 6, 2, 1, 0, 2, 1, 0]));
    check(
        jwt(&[ES256, ES384], vec![Pair::P256.spec(), Pair::P384.spec()]),
        vec![
            ("psychic signature", zeros, BAD_SIGNATURE),
            ("DER signature", der, BAD_SIGNATURE),
            ("P-384 signature called ES256", sign_text(Pair::P384, ES384, r#"{"alg":"ES256"}"#, &body), BAD_SIGNATURE),
            ("good ES384", sign(Pair::P384, ES384, None, &claims()), Ok(())),
        ],
    );
}

#[test]
fn dates() {
    let expired = |at| Err(TokenError::Expired { at });
    let early = Err(TokenError::NotYetValid);
    check(
        hs256(),
        vec![
            ("expires in a second", hs(&with("exp", NOW + 1)), Ok(())),
            ("expires now", hs(&with("exp", NOW)), expired(NOW)),
            ("expired", hs(&with("exp", NOW - 1)), expired(NOW - 1)),
            ("expired at the epoch", hs(&with("exp", 0)), expired(0)),
            ("a fraction is cut off", hs(&with("exp", NOW as f64 + 0.9)), expired(NOW)),
            ("far future", hs(&with("exp", u64::MAX)), Ok(())),
            ("beyond u64", hs(&with("exp", 1e300)), Ok(())),
            ("exp negative", hs(&with("exp", -1)), MALFORMED),
            ("exp a string", hs(&with("exp", (NOW + 60).to_string())), MALFORMED),
            ("exp null", hs(&with("exp", Value::Null)), MALFORMED),
            ("exp true", hs(&with("exp", true)), MALFORMED),
            ("exp a list", hs(&with("exp", json!([NOW + 60]))), MALFORMED),
            ("exp not finite", text(r#"{"alg":"HS256"}"#, r#"{"exp":1e999}"#), MALFORMED),
            ("exp twice", text(r#"{"alg":"HS256"}"#, &format!(r#"{{"exp":1,"exp":{}}}"#, NOW + 60)), MALFORMED),
            ("no exp", hs(&json!({"sub": "u1"})), Ok(())),
            ("nbf now", hs(&with("nbf", NOW)), Ok(())),
            ("nbf in a second", hs(&with("nbf", NOW + 1)), early),
            ("nbf in half a second", hs(&with("nbf", NOW as f64 + 0.5)), early),
            ("nbf a string", hs(&with("nbf", "0")), MALFORMED),
            ("issued just ahead of our clock", hs(&with("iat", NOW + 5)), Ok(())),
            ("issued in the future", hs(&with("iat", NOW + 6)), early),
            ("iat an object", hs(&with("iat", json!({}))), MALFORMED),
            ("the same name twice, deep down", text(r#"{"alg":"HS256"}"#, r#"{"a":[{"b":1,"b":2}]}"#), MALFORMED),
            ("a private name of serde_json", hs(&with("x", json!({"$serde_json::private::RawValue": "{"}))), Ok(())),
            ("a lone surrogate", text(r#"{"alg":"HS256"}"#, r#"{"sub":"\ud800"}"#), MALFORMED),
        ],
    );
    let mut lenient = hs256();
    lenient.rules = ClaimRules { leeway_seconds: 10, require_expiry: true, ..ClaimRules::default() };
    check(
        lenient,
        vec![
            ("expired within the leeway", hs(&with("exp", NOW - 9)), Ok(())),
            ("expired by the leeway", hs(&with("exp", NOW - 10)), expired(NOW - 10)),
            ("nbf within the leeway", hs(&with("nbf", NOW + 10)), Ok(())),
            ("nbf beyond it", hs(&with("nbf", NOW + 11)), early),
            ("iat within it", hs(&with("iat", NOW + 10)), Ok(())),
            ("iat beyond it", hs(&with("iat", NOW + 11)), early),
            ("no exp where one is asked for", hs(&json!({"sub": "u1"})), Err(TokenError::MissingExpiry)),
        ],
    );
}

#[test]
fn issuers_and_audiences() {
    let issuer = Err(TokenError::WrongIssuer);
    let audience = Err(TokenError::WrongAudience);
    let mut spec = hs256();
    spec.rules.issuers = vec!["https://a.example".into(), "b".into()];
    check(
        spec,
        vec![
            ("first", hs(&with("iss", "https://a.example")), Ok(())),
            ("second", hs(&with("iss", "b")), Ok(())),
            ("no issuer", hs(&claims()), issuer),
            ("longer", hs(&with("iss", "https://a.example/")), issuer),
            ("another case", hs(&with("iss", "B")), issuer),
            ("a list", hs(&with("iss", json!(["b"]))), issuer),
            ("a number", hs(&with("iss", 1)), issuer),
        ],
    );
    let mut spec = hs256();
    spec.rules.audiences = vec!["push".into(), "web".into()];
    check(
        spec,
        vec![
            ("one", hs(&with("aud", "web")), Ok(())),
            ("one of a list", hs(&with("aud", json!(["x", "push"]))), Ok(())),
            ("no audience", hs(&claims()), audience),
            ("an empty list", hs(&with("aud", json!([]))), audience),
            ("a list in a list", hs(&with("aud", json!([["push"]]))), audience),
            ("a part of the name", hs(&with("aud", "pus")), audience),
            ("an object", hs(&with("aud", json!({"push": true}))), audience),
        ],
    );
    check(hs256(), vec![("an audience nobody asked about", hs(&with("aud", "x")), Ok(()))]);
}

#[test]
fn kinds() {
    let typed = |kind: Value| text(&json!({"alg": "HS256", "typ": kind}).to_string(), &claims().to_string());
    let mut spec = hs256();
    spec.types = vec!["JWT".into(), "at+jwt".into()];
    let other = Err(TokenError::WrongType);
    check(
        spec,
        vec![
            ("a JWT", typed("JWT".into()), Ok(())),
            ("in another case", typed("jwt".into()), Ok(())),
            ("an access token", typed("at+jwt".into()), Ok(())),
            ("as a media type", typed("Application/at+jwt".into()), Ok(())),
            ("untyped", text(r#"{"alg":"HS256"}"#, &claims().to_string()), Ok(())),
            ("a token that signs out", typed("logout+jwt".into()), other),
            ("a security event", typed("secevent+jwt".into()), other),
            ("a proof of possession", typed("dpop+jwt".into()), other),
            ("a part of the name", typed("at".into()), other),
            ("the name and more", typed("JWT ".into()), other),
            ("another media type", typed("text/JWT".into()), other),
            ("empty", typed("".into()), other),
            ("not a string", typed(json!(["JWT"])), MALFORMED),
            ("null", typed(Value::Null), MALFORMED),
        ],
    );
    check(hs256(), vec![("where nobody asked", typed("logout+jwt".into()), Ok(()))]);
}

/// The token with `s` of its ECDSA signature replaced by `order - s`, which verifies as well.
fn malleated(token: &str, order: &str) -> String {
    let (message, signature) = token.rsplit_once('.').unwrap();
    let mut signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let middle = signature.len() / 2;
    let mut borrow = 0;
    for (at, byte) in signature[middle..].iter_mut().enumerate().rev() {
        let digit = i16::from(u8::from_str_radix(&order[2 * at..2 * at + 2], 16).unwrap()) - i16::from(*byte) - borrow;
        borrow = i16::from(digit < 0);
        *byte = u8::try_from(digit.rem_euclid(256)).unwrap();
    }
    format!("{message}.{}", encode(signature))
}

#[test]
fn a_signature_written_in_another_way_does_not_escape_a_revocation() {
    let p256 = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let p384 = "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973";
    for (pair, algorithm, order) in [(Pair::P256, ES256, p256), (Pair::P384, ES384, p384)] {
        let token = sign(pair, algorithm, None, &claims());
        let other = malleated(&token, order);
        assert_ne!(token, other);
        assert_eq!(malleated(&other, order), token);
        let verifier = verifier(jwt(&[algorithm], vec![pair.spec()]));
        let id = |token: &str| verifier.verify_now(token, NOW).unwrap().unwrap().token_id;
        assert_eq!(id(&token), id(&other), "both verify, and have one name");
        assert_eq!(hash_id(&token), id(&other));
    }
}

#[test]
fn several_keys() {
    let (old, new) = (Pair::Secret(b"old"), Pair::Secret(b"new"));
    let named = |pair: Pair, id: &str| KeySpec { id: Some(id.into()), ..pair.spec() };
    check(
        jwt(&[HS256], vec![named(old, "1"), named(new, "2")]),
        vec![
            ("old, no kid", sign(old, HS256, None, &claims()), Ok(())),
            ("new, no kid", sign(new, HS256, None, &claims()), Ok(())),
            ("new by kid", sign(new, HS256, Some("2"), &claims()), Ok(())),
            ("kid selects the other", sign(new, HS256, Some("1"), &claims()), BAD_SIGNATURE),
            ("unknown kid tries all", sign(new, HS256, Some("3"), &claims()), Ok(())),
            ("unknown kid, unknown key", sign(SECRET_PAIR, HS256, Some("3"), &claims()), Err(TokenError::UnknownKey)),
            ("no kid, unknown key", sign(SECRET_PAIR, HS256, None, &claims()), BAD_SIGNATURE),
        ],
    );
    let set = json!({"keys": [
        Pair::Rsa.jwk("r", RS256), Pair::P256.jwk("e", ES256), Pair::Ed25519.jwk("d", EdDSA),
        {"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA", "kid": "k"}, {"kty": "new"}, 7,
    ]});
    let spec = JwtSpec { key_set: Some(set.to_string()), ..jwt(&[RS256, RS512, ES256, EdDSA], vec![]) };
    let Err(missing) = Verifier::new(vec![VerifierSpec::Jwt(spec.clone())], None) else { panic!("RS512 has no key") };
    assert_eq!(missing, SpecError::NoKeyFor(RS512));
    let spec = JwtSpec { algorithms: vec![RS256, ES256, EdDSA], ..spec };
    check(
        spec,
        vec![
            ("RSA from a set", sign(Pair::Rsa, RS256, Some("r"), &claims()), Ok(())),
            ("P-256 from a set", sign(Pair::P256, ES256, Some("e"), &claims()), Ok(())),
            ("Ed25519 from a set", sign(Pair::Ed25519, EdDSA, None, &claims()), Ok(())),
            ("kid of a key of another kind", sign(Pair::Ed25519, EdDSA, Some("r"), &claims()), Ok(())),
            ("P-384 called ES256", sign_text(Pair::P384, ES384, r#"{"alg":"ES256"}"#, "{}"), BAD_SIGNATURE),
        ],
    );
}

#[test]
fn mistakes_in_the_configuration_are_told() {
    let with_key = |spec: KeySpec| Verifier::new(vec![VerifierSpec::Jwt(jwt(&[HS256, ES256], vec![spec]))], None);
    let jwk = |value: Value| KeySpec { material: KeyMaterial::Jwk(value.to_string()), id: None };
    let private = include_str!("keys/p256.pem");
    let rows: Vec<(&str, Result<Verifier, SpecError>, &str)> = vec![
        ("nothing", Verifier::new(vec![], None), "no way to verify"),
        ("no algorithm", with(jwt(&[], vec![SECRET_PAIR.spec()])), "no algorithm"),
        ("no key", with(jwt(&[HS256], vec![])), "no key fits"),
        ("unused key", with(jwt(&[HS256], vec![SECRET_PAIR.spec(), Pair::Rsa.spec()])), "fits none"),
        ("too many keys", with(jwt(&[HS256], vec![SECRET_PAIR.spec(); 17])), "too many keys: 17"),
        ("empty secret", with_key(KeySpec::secret("")), "empty"),
        ("public key as secret", with_key(KeySpec::secret(Pair::Rsa.public_pem())), "PEM"),
        ("private key", with_key(KeySpec::pem(private)), "private"),
        ("weak RSA", with_key(KeySpec::pem(include_str!("keys/rsa1024.pub.pem"))), "2048"),
        ("another curve", with_key(KeySpec::pem(include_str!("keys/k1.pub.pem"))), "P-256"),
        ("not a PEM", with_key(KeySpec::pem("secret")), "not a PEM"),
        ("JWK for encryption", with_key(jwk(json!({"kty": "oct", "k": "AAAA", "use": "enc"}))), "`use`"),
        ("JWK for signing only", with_key(jwk(json!({"kty": "oct", "k": "AAAA", "key_ops": ["sign"]}))), "key_ops"),
        ("JWK of another alg", with_key(jwk(json!({"kty": "oct", "k": "AAAA", "alg": "RS256"}))), "`alg`"),
        ("JWK with a short secret", with_key(jwk(json!({"kty": "oct", "k": encode([7; 31])}))), "shorter"),
        ("JWK off the curve", with_key(jwk(json!({"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA"}))), "P-256"),
        ("JWK set without keys", with(JwtSpec { key_set: Some("{}".into()), ..hs256() }), "`keys`"),
        ("JWK set that is empty", with(JwtSpec { key_set: Some(r#"{"keys":[]}"#.into()), ..hs256() }), "no usable key"),
        ("no HTTP", with(JwtSpec { jwks: Some(JwksSpec::new("https://x.example")), ..hs256() }), "HTTP client"),
        ("leeway", with(JwtSpec { rules: ClaimRules { leeway_seconds: 601, ..Default::default() }, ..hs256() }), "601"),
    ];
    for (name, got, want) in rows {
        let message = got.err().map(|e| e.to_string()).unwrap_or_default();
        assert!(message.contains(want), "{name}: {message:?} does not say {want:?}");
        assert!(!message.contains("shared secret for the tests"), "{name} tells the secret");
    }

    fn with(spec: JwtSpec) -> Result<Verifier, SpecError> {
        Verifier::new(vec![VerifierSpec::Jwt(spec)], None)
    }
}

#[test]
fn what_is_verified_is_named_and_dated() {
    let mut lenient = hs256();
    lenient.rules.leeway_seconds = 10;
    let verifier = verifier(lenient);
    let verify = |claims: &Value| verifier.verify_now(&hs(claims), NOW).unwrap().unwrap();
    let plain = verify(&claims());
    assert_eq!((plain.expires_at, plain.issued_at), (Some(NOW + 70), Some(NOW - 1)));
    assert_eq!(plain.claims["sub"], "u1");
    assert_eq!(plain.token_id, hash_id(&hs(&claims())));
    assert_eq!(&*hash_id("abc"), "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_ne!(hash_id("v1.abc"), hash_id("v1.abd"), "no signed token: the whole of it is its name");
    assert_ne!(hash_id("a.b.c"), hash_id("a.b.d"));
    assert_eq!(&*verify(&with("jti", "j1")).token_id, "j1");
    for odd in [json!(""), json!(7), json!("j".repeat(257))] {
        assert!(verify(&with("jti", odd)).token_id.starts_with("sha256:"));
    }
}

#[test]
fn a_minted_token_verifies() {
    let Value::Object(claims) = claims() else { unreachable!() };
    assert_eq!(mint(b"", &claims), Err(SpecError::EmptySecret));
    let verified = verifier(hs256()).verify_now(&mint(SECRET, &claims).unwrap(), NOW).unwrap().unwrap();
    assert_eq!(verified.claims, claims);
}

#[test]
fn several_verifiers_tell_the_most_telling_reason() {
    let other = jwt(&[HS256], vec![Pair::Secret(b"other").spec()]);
    let both = Verifier::new(vec![VerifierSpec::Jwt(other), VerifierSpec::Jwt(hs256())], None).unwrap();
    assert_eq!(verdict(&both, &hs(&claims()), NOW), Ok(()));
    assert_eq!(verdict(&both, &sign(Pair::Secret(b"other"), HS256, None, &claims()), NOW), Ok(()));
    assert_eq!(verdict(&both, &hs(&with("exp", 5)), NOW), Err(TokenError::Expired { at: 5 }));
    assert_eq!(verdict(&both, &sign(Pair::Secret(b"x"), HS256, None, &claims()), NOW), BAD_SIGNATURE);
}
