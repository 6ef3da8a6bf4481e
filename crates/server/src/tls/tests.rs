//! What is said of certificates and keys that cannot be used.

use super::{Tls, TlsError};

const CERTIFICATE: &str = include_str!("tests/certificate.pem");
const KEY: &str = include_str!("tests/key.pem");
const OTHER_KEY: &str = include_str!("tests/other-key.pem");

/// The same PEM with a line of its base64 destroyed.
fn damaged(pem: &str) -> String {
    pem.lines().map(|line| if line.starts_with("-----") { line } else { "AAAA" }).collect::<Vec<_>>().join("\n")
}

#[test]
fn what_is_wrong_is_told() {
    let encrypted = KEY.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let check = |certificate: &str, key: &str, expect: Option<&str>| {
        let error = Tls::from_pem(certificate, key).err().map(|error| format!("{error:?}"));
        let name = error.as_deref().map(|error| error.split('(').next().unwrap_or_default());
        assert_eq!(name, expect, "{error:?}");
    };
    check(CERTIFICATE, KEY, None);
    check(&format!("{CERTIFICATE}{KEY}"), &format!("{CERTIFICATE}{KEY}"), None);
    check("", KEY, Some("NoCertificate"));
    check(KEY, KEY, Some("NoCertificate"));
    check(&damaged(CERTIFICATE), KEY, Some("BadCertificate"));
    check(CERTIFICATE, "", Some("NoKey"));
    check(CERTIFICATE, CERTIFICATE, Some("NoKey"));
    check(CERTIFICATE, &encrypted, Some("EncryptedKey"));
    check(CERTIFICATE, &damaged(KEY), Some("BadKey"));
    check(CERTIFICATE, OTHER_KEY, Some("Mismatch"));
}

#[test]
fn a_bad_replacement_leaves_what_is_in_use() {
    let tls = Tls::from_pem(CERTIFICATE, KEY).expect("a good pair");
    let before = tls.current();
    assert_eq!(tls.replace(CERTIFICATE, OTHER_KEY), Err(TlsError::Mismatch));
    assert!(std::sync::Arc::ptr_eq(&before, &tls.current()));
    let shared = tls.clone();
    assert_eq!(tls.replace(CERTIFICATE, KEY), Ok(()));
    assert!(std::sync::Arc::ptr_eq(&shared.current(), &tls.current()), "clones share what is in use");
    assert!(!std::sync::Arc::ptr_eq(&before, &tls.current()));
}
