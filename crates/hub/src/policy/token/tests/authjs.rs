//! Sessions of Auth.js: tokens that the real `@auth/core` 0.41.3 and `jose` made, and what must not pass for one.

use serde_json::json;

use super::*;

const FIRST: &str = "first-secret-0123456789";
const SECOND: &str = "second-secret-9876543210";
const PLAIN: &str = "authjs.session-token";
const SECURE: &str = "__Secure-authjs.session-token";

/// When the tokens below were minted; they are good for a day.
const MINTED: u64 = 1795228489;

/// Of `encode({token, secret: FIRST, salt: PLAIN})`.
const FIRST_PLAIN: &str = "eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2Q0JDLUhTNTEyIiwia2lkIjoiWURPTlhqMHNmYmUxWXJyMWVZVURIZHZZWmlabDdZX1JNWmpVOG1Jd2t5eGE5ZFJMcDllWUpGTHNoMF9JaE9VRTlNZFBqNXRDaHp1UW5LRVllNm4xaWcifQ..zOWZLOu43yUlK4cYjzs0Vg.ymn82iCoCphyeijCuSY_4EQoAdGx3hWKBlH-6p1MVA8pCD4ASgiTMIN_9DxHIldcuHFlPVk2d8IoxasNy67fqrS56z7VYa7NBy8XFc_R2Wnrj_G9GVg3g1mn8yXEwKIQbjlpkJrjazFy32WFa3cj9cPPWWE7MhuFsGT3zfulhBh6WXhpXhYMVXPenkl-76Ar7djZ-ed-oM1chzhudSdh5g.zSuOCe7JWDZEVa-M_RUQtFgLfKKMCnZk_yZqU0JKEUM";
/// Of `encode({token, secret: FIRST, salt: SECURE})`.
const FIRST_SECURE: &str = "eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2Q0JDLUhTNTEyIiwia2lkIjoiNHRZODhnSHVqMDEwOXdGdVFrRkladVVheFYyOWxmNHhjQy15X1NaOGozbTktMzhTZU10Q0dvdlhqbGtZN3g2ZTBYZTFWVlUwZWdubDRRalZmLVNSUXcifQ..3vfyXFVHRC-qh9RzTmQJjA.aaHF8p8C-zzopErUYwWQV-SFv5nZ257CCs9J0aDSdl26GA7VHegP4wOK1kY8B9GHE0dhW1UtApjs2J2VOaA1ExxBbCtjFyctpzF3TDKgMN85ICq936eLO6vycwL7F0p-xPV8YVybWOWtqw8nhM-oPj83hpyfK3WGroWnyUyArWsnU_X7qRBpVaXPRWRwqZ456PQxmjqzLj9VJ5Y2KAdxew.Jsc0KncBHirFleWOJaUuaYzyhRy1uhhAiqKBpZBtlsw";
/// Of `encode({token, secret: [SECOND, FIRST], salt: PLAIN})`: made with the first of the list.
const SECOND_PLAIN: &str = "eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2Q0JDLUhTNTEyIiwia2lkIjoiR1ltZExVTlI0bjhXOXdEU1E0aDUtTWQxVnZnWjlwSGJUdTFUN2owS3g3ZDk2c0dGUXd5dWZaeXNVb3pwX2ZiTjNvVVdacnRBeVRZWFB3ZXBIS1dHWGcifQ..1tLccUyrZLD8f0c0OzP7Bw.O04E1zJnMIOnjpClHvGnhBift-tDdAPoLJ8BJ3luSLX69hRSmjhBvfB15Gmdp8iD05l88MIl2buipn4OotY-POYl_PduwAazR3olDMEDQASD1rGmPknuMwWC2qsTTMEjmm52o04kl3CD3JA3OgHS3_fYeozW5Ah_vsxZX5ZeRcEuIO5ywU6X4nFLxIQDoFMMt1Cj9ofhta7n2yCk6lbzZg.tCs713MQegGpbWRo03e9ZD_npZYCViaB0-5qwGIEKMQ";
/// Of `encode({token, secret: SECOND, salt: SECURE})`.
const SECOND_SECURE: &str = "eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2Q0JDLUhTNTEyIiwia2lkIjoiNlZqMG1oRjNRYUhvZ3hMb05JZ2hIbkkzc3BDeldTSnA5YkVHQzF0Zm1FOFlTaTdZcUlTV1N0ZWhueFBEZ3hKS0VfLUQzWGhNOTFieTktU0ZZdjRwOUEifQ..v7w1kP3FyegPhYVCyx70Zg.Nuv3i0uBZE3z5EAb6bcXlEwvbwJAoIF6rFv0MYoytYE4xldkXP9FZBaSAaPJdbkFhJgpPPHV7qnrcElsu83tRS52pO6LhbUvgEgwDiq506k_sC_wX9w_wi1E-TnG26HYh7p9WQ0pl7VZ3d4jJyaE9XYHpRZDRhphoUcBGsCa3aHJtXarDBLlQNAycmB_PdNhAzg4t5YxjYXL3b2OXkfqnA.fs5mBF6VoFzFUtIP1zV25ebDPbZWMc5Ig22SF9sWNtc";
/// As NextAuth v4 makes them of FIRST: A256GCM, one salt, no `kid`.
const NEXT_AUTH_4: &str = "eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0..3Q-WQQ4Mts5bQLkw.wuWS0dRkHdPyDkFB-sURV-qBIB5QBBIZyCMEBeOjrdT0XWj1iK9LXbd5e1LmDG3M3k4LXACMcg8UpCJ_QYB5_D7t3ID00kJTexIN0meocAVlu4cnO4Wl-LAX_vgLO9B50w-HBoMBXsY0HCFU9wFFfWUXppU3h7zR-HrRDOPlO-Mw__W6a4FkIeN-XbFdHkv2dFYYP_CdLSaAP32JLVI.TZN-sbkmHclvIFyNB1HQng";
/// A256GCM with the key of v5, FIRST and PLAIN, which its `decode` accepts too.
const FIRST_PLAIN_GCM: &str = "eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIiwia2lkIjoib2RFSEhURFY5SkFGcHJaRy1KcVJFQUJKc2lybDRoZmlaczFvcW80NVBWVSJ9..Lgmu5PBpWIZfUygg.o9n3dGHhqHT2Sbh2jFcQSob0xWLkkKNXRMaQEdbY7KCs4y5uidALl6tQzrbEolvWRupF29iaN78y6Aipy1bvyrvKLEuUlrf6DcGybMV-m7oaqbopT3NAF3zDSGcqbZNJHe4B2QFFzEQsmZJy2a8j4nGJYb_r4VOHpZzQnQvMcJpYUZKX1YLnh0WC3EkJA6Sh63dBs-DB6X6-H-kVDQ0.e4NlNi6z5vrH4V4pni-FTw";

/// Secret `test-auth-secret-0123456789`, cookie PLAIN, `exp` 1795305426.
const SEED: &str = "eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2Q0JDLUhTNTEyIiwia2lkIjoiYnNuZ2dZUnZCbi16UXkzNjJfa0RlQjU2RDVwSGZkUHBvaEZXM3F0am9INnpvUVBWUmJXXzJzUG1vaE5mMi1iTDQ4TjlhYVJyZGVod3RhMUE5ZUIyTlEifQ..C_3L15js3qbL6bGOJ8mYkQ.3tzZzjjXf7iUEXv6MUq9HmF2aY3py_Jjy78owXAUedq9-mH1E_gh5Y2ZoEgZtW2vOfGUSn6oS2YCgmYn-vbJ5YDue7cOinri0gyvSZQT9Yy9qxTiPpiYPHd5afQaNRFuw_t5v3BnBVhzePGDrprXp4yPRRnkxX52vFiH5GEIP-3N0FrM3hnTUtuSZxE9B9V_zgpdVTDYRuZYquszL4Y5Dr9-EU-scny-x2_ayYP3hHK0utfzQLH-VknXFb3zdpygj8JNwz2LXaymNP1trCAGDWZUNcUp1_6b2wFx6J2UpXzTl3IlA5a8Pu-XVYhA5fNgsM9_wlT3LzFg3Jd3B3h0jjMau8gvLrEJuOAFMLqhIoVGCx7NOU4XOtYkUo4rHlJX1TSnOZiFTFNwyYO-SJkdJcWVQhiGZfg9bh974i6AF7foM-5iGLOp8B-jVSSjuWjM.Q24v-OCt0r8hiZ6fKlsGEfBRogBbJnwmpN1bOe_AVAc";
const SEED_EXPIRY: u64 = 1_795_305_426;

fn sessions(secrets: &[&str]) -> Verifier {
    let spec = AuthJsSpec::new(secrets.iter().map(|&secret| secret.to_owned()).collect());
    Verifier::new(vec![VerifierSpec::AuthJs(spec)], None).unwrap()
}

#[test]
fn tokens_of_the_real_library_decode_with_their_secret_alone() {
    let minted = [
        ("first, http", FIRST_PLAIN, FIRST),
        ("first, https", FIRST_SECURE, FIRST),
        ("second, http", SECOND_PLAIN, SECOND),
        ("second, https", SECOND_SECURE, SECOND),
        ("v4", NEXT_AUTH_4, FIRST),
        ("v5 with GCM", FIRST_PLAIN_GCM, FIRST),
    ];
    for (name, token, secret) in minted {
        for secrets in [&[secret][..], &["older", secret], &[FIRST, SECOND]] {
            let verified = sessions(secrets).verify_now(token, MINTED + 5).unwrap().unwrap();
            assert_eq!(verified.claims["name"], "\u{5f20}\u{4f1f}", "{name}");
            assert_eq!(verified.claims["roles"], json!(["tenant_admin"]), "{name}");
            assert_eq!(*verified.token_id, *verified.claims["jti"].as_str().unwrap(), "{name}");
        }
        let stranger = if token == NEXT_AUTH_4 { TokenError::BadSignature } else { TokenError::UnknownKey };
        same(name, &verdict(&sessions(&["stranger"]), token, MINTED), &Err(stranger));
    }
}

#[test]
fn the_vector_of_the_seed_decodes_until_it_expires() {
    let secrets = ["test-auth-secret-0123456789"];
    let strict = AuthJsSpec { leeway_seconds: 0, ..AuthJsSpec::new(vec![secrets[0].into()]) };
    let strict = Verifier::new(vec![VerifierSpec::AuthJs(strict)], None).unwrap();
    let verified = strict.verify_now(SEED, SEED_EXPIRY - 1).unwrap().unwrap();
    assert_eq!(verified.claims["id"], "u1");
    assert_eq!(verified.claims["isPlatform"], true);
    assert_eq!(verified.claims["departmentId"], Value::Null);
    assert_eq!((verified.issued_at, verified.expires_at), (Some(SEED_EXPIRY - 86_400), Some(SEED_EXPIRY)));
    assert_eq!(&*verified.token_id, "0940d55c-7077-44ff-9c99-cba056b39c71");
    let expired = Err(TokenError::Expired { at: SEED_EXPIRY });
    assert_eq!(verdict(&strict, SEED, SEED_EXPIRY), expired);
    let usual = sessions(&secrets);
    assert_eq!(verdict(&usual, SEED, SEED_EXPIRY + 14), Ok(()));
    assert_eq!(verdict(&usual, SEED, SEED_EXPIRY + 15), expired);
}

#[test]
fn the_cookie_name_salts_the_key() {
    let spec = AuthJsSpec { cookie_names: vec![SECURE.into()], ..AuthJsSpec::new(vec![FIRST.into()]) };
    let only = Verifier::new(vec![VerifierSpec::AuthJs(spec)], None).unwrap();
    assert_eq!(verdict(&only, FIRST_SECURE, MINTED), Ok(()));
    assert_eq!(verdict(&only, FIRST_PLAIN, MINTED), Err(TokenError::UnknownKey));
    assert!(FIRST_PLAIN.len() > 100 && PLAIN != SECURE);
}

#[test]
fn nothing_in_a_session_can_be_changed() {
    let verifier = sessions(&[FIRST]);
    for token in [FIRST_PLAIN, FIRST_PLAIN_GCM, NEXT_AUTH_4] {
        for position in 0..token.len() {
            let old = token.as_bytes()[position];
            let mut changed = token.to_owned();
            changed.replace_range(position..=position, if old == b'A' { "B" } else { "A" });
            assert!(verdict(&verifier, &changed, MINTED).is_err(), "byte {position}");
        }
    }
}

#[test]
fn what_is_no_session_is_refused() {
    let parts: Vec<&str> = FIRST_PLAIN.split('.').collect();
    let header = |value: Value| format!("{}..{}.{}.{}", encode(value.to_string()), parts[2], parts[3], parts[4]);
    let (malformed, not_allowed) = (Err(TokenError::Malformed), Err(TokenError::AlgorithmNotAllowed));
    let wrong = Err(TokenError::BadSignature);
    let enc = "A256CBC-HS512";
    let join = |iv: &str, text: &str, tag: &str| format!("{}..{iv}.{text}.{tag}", parts[0]);
    let rows = [
        ("good", FIRST_PLAIN.to_owned(), Ok(())),
        ("a JWT", sign(Pair::Secret(FIRST.as_bytes()), Algorithm::HS256, None, &claims()), malformed),
        ("six parts", format!("{FIRST_PLAIN}.x"), malformed),
        ("a wrapped key", FIRST_PLAIN.replacen("..", ".AAAA.", 1), malformed),
        ("another alg", header(json!({"alg": "RSA-OAEP", "enc": enc})), not_allowed),
        ("password based", header(json!({"alg": "PBES2-HS256+A128KW", "enc": enc, "p2c": 1e9})), not_allowed),
        ("another enc", header(json!({"alg": "dir", "enc": "A128CBC-HS256"})), not_allowed),
        ("no enc", header(json!({"alg": "dir"})), malformed),
        ("compressed", header(json!({"alg": "dir", "enc": enc, "zip": "DEF"})), malformed),
        ("critical", header(json!({"alg": "dir", "enc": enc, "crit": []})), malformed),
        ("header replaced", header(json!({"alg": "dir", "enc": enc})), wrong),
        ("unknown kid", header(json!({"alg": "dir", "enc": enc, "kid": "x"})), Err(TokenError::UnknownKey)),
        ("kid not a string", header(json!({"alg": "dir", "enc": enc, "kid": 1})), malformed),
        ("no IV", join("", parts[3], parts[4]), wrong),
        ("short IV", join(&parts[2][..10], parts[3], parts[4]), malformed),
        ("IV of GCM's length", join(&encode([0; 12]), parts[3], parts[4]), wrong),
        ("no text", join(parts[2], "", parts[4]), wrong),
        ("text cut by a block", join(parts[2], &parts[3][..64], parts[4]), wrong),
        ("no tag", join(parts[2], parts[3], ""), wrong),
        ("half a tag", join(parts[2], parts[3], &encode([0; 16])), wrong),
        ("all empty", "....".to_owned(), malformed),
    ];
    let verifier = sessions(&[FIRST]);
    for (name, token, want) in rows {
        same(name, &verdict(&verifier, &token, MINTED), &want);
    }
}

#[test]
fn chunked_cookies_verify() {
    let (first, second) = FIRST_SECURE.split_at(300);
    let header = format!("theme=dark; {SECURE}.1={second}; {SECURE}.0={first}");
    let token = cookie::session_token(&header, SECURE).unwrap();
    assert_eq!(verdict(&sessions(&[FIRST]), &token, MINTED), Ok(()));
    assert_eq!(cookie::session_token(&header, PLAIN), None);
}

#[test]
fn mistakes_in_the_configuration_are_told() {
    let build = |spec: AuthJsSpec| Verifier::new(vec![VerifierSpec::AuthJs(spec)], None).map(drop);
    assert_eq!(build(AuthJsSpec::new(vec![])), Err(SpecError::EmptySecret));
    assert_eq!(build(AuthJsSpec::new(vec![String::new()])), Err(SpecError::EmptySecret));
    let many = build(AuthJsSpec::new(vec!["s".into(); 9]));
    assert_eq!(many, Err(SpecError::TooMany { what: "secrets", count: 9, most: 8 }));
    assert!(!format!("{:?}", AuthJsSpec::new(vec!["hidden".into()])).contains("hidden"));
}
