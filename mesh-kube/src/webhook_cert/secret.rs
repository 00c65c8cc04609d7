//! The Secret that holds a set.
//!
//! Keys `ca.crt` (the bundle: the current CA first, then another one during a rotation), `ca.key`, `tls.crt`, `tls.key`.
//! Times and names stand in annotations, for people to see and so that nothing here has to parse X.509; that they tell
//! the truth is checked with the very verifier that a TLS client uses.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use mesh_runtime::tls;
use rcgen::KeyPair;

use super::material::{Rotation, Set, Signed, Validity, since_epoch};

const CA_CERTIFICATE: &str = "ca.crt";
const CA_KEY: &str = "ca.key";
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";

/// `<from>/<until>`, RFC 3339, of the first certificate in `ca.crt`.
const CA_VALIDITY: &str = "outrigger.dev/ca-validity";
/// The same of `tls.crt`.
const VALIDITY: &str = "outrigger.dev/certificate-validity";
/// The names in `tls.crt`, with commas.
const NAMES: &str = "outrigger.dev/certificate-names";
/// The first CA in `ca.crt` is new since then, and hasn't signed `tls.crt`.
const INTRODUCED: &str = "outrigger.dev/ca-introduced";
/// The second CA in `ca.crt` is trusted until then.
const RETIRING: &str = "outrigger.dev/old-ca-until";

/// What the Secret holds, or why that can't be used.
pub fn read(secret: &Secret) -> Result<Set, String> {
    let data = |key: &str| {
        let bytes = secret.data.as_ref().and_then(|data| data.get(key)).ok_or_else(|| format!("{key} is missing"))?;
        String::from_utf8(bytes.0.clone()).map_err(|_| format!("{key} is no text"))
    };
    let annotation = |key: &str| secret.metadata.annotations.as_ref().and_then(|annotations| annotations.get(key));
    let time = |key: &str| match annotation(key).map(|text| text.parse::<Timestamp>()) {
        None => Ok(None),
        Some(Ok(time)) => Ok(Some(time)),
        Some(Err(error)) => Err(format!("annotation {key}: {error}")),
    };
    let validity = |key: &str| {
        annotation(key).and_then(|text| Validity::parse(text)).ok_or_else(|| format!("annotation {key} is no period"))
    };

    let bundle = data(CA_CERTIFICATE)?;
    let certificates = certificates(&bundle);
    let rotation = match (&certificates[..], time(INTRODUCED)?, time(RETIRING)?) {
        ([_], None, None) => Rotation::Settled,
        ([_, old], Some(since), None) => Rotation::Introduced { old: old.clone(), since },
        ([_, old], None, Some(until)) => Rotation::Retiring { old: old.clone(), until },
        (list, ..) => {
            return Err(format!("{CA_CERTIFICATE} has {} certificates, and annotations that don't fit", list.len()));
        }
    };
    let ca = Signed {
        certificate: certificates.into_iter().next().unwrap_or_default(),
        key: data(CA_KEY)?,
        validity: validity(CA_VALIDITY)?,
    };
    let leaf = Signed { certificate: data(CERTIFICATE)?, key: data(KEY)?, validity: validity(VALIDITY)? };
    let names = annotation(NAMES).map(|names| names.split(',').map(str::to_owned).collect()).unwrap_or_default();
    let set = Set { ca, leaf, names, rotation };
    check(&set)?;
    Ok(set)
}

/// Do the parts belong together, and do the annotations tell the truth?
fn check(Set { ca, leaf, names, rotation }: &Set) -> Result<(), String> {
    KeyPair::from_pem(&ca.key).map_err(|error| format!("{CA_KEY}: {error}"))?;
    tls::check_key(ca.certificate.as_bytes(), ca.key.as_bytes()).map_err(|error| format!("{CA_KEY}: {error}"))?;
    tls::check_key(leaf.certificate.as_bytes(), leaf.key.as_bytes()).map_err(|error| format!("{KEY}: {error}"))?;
    if names.is_empty() {
        return Err(format!("annotation {NAMES} is missing"));
    }
    let signer = match rotation {
        Rotation::Introduced { old, .. } => old,
        Rotation::Settled | Rotation::Retiring { .. } => &ca.certificate,
    };
    // In its first and its last second: so the period is that of the certificate, or within it.
    for second in [leaf.validity.from, leaf.validity.until - SignedDuration::from_secs(1)] {
        tls::check_chain(leaf.certificate.as_bytes(), signer.as_bytes(), names, since_epoch(second))
            .map_err(|error| format!("{CERTIFICATE}: {error}"))?;
    }
    if let Some(old) = rotation.old() {
        tls::check_root(old.as_bytes()).map_err(|error| format!("{CA_CERTIFICATE}: {error}"))?;
    }
    Ok(())
}

/// The sections of a PEM bundle, each one written as we write it; anything between them is left out.
fn certificates(bundle: &str) -> Vec<String> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let section = |rest: &str| rest.split_once(END).map(|(body, _)| format!("{BEGIN}{body}{END}\n"));
    bundle.split(BEGIN).skip(1).filter_map(section).collect()
}

/// The Secret with this set in it; what else is in it stays.
pub fn write(mut secret: Secret, name: &str, set: &Set) -> Secret {
    secret.metadata.name = Some(name.to_owned());
    // The type of an existing Secret can't be changed.
    secret.type_.get_or_insert_with(|| "Opaque".to_owned());
    let data = secret.data.get_or_insert_with(BTreeMap::new);
    for (key, text) in [
        (CA_CERTIFICATE, &set.bundle()),
        (CA_KEY, &set.ca.key),
        (CERTIFICATE, &set.leaf.certificate),
        (KEY, &set.leaf.key),
    ] {
        data.insert(key.to_owned(), ByteString(text.clone().into_bytes()));
    }
    let (introduced, retiring) = match &set.rotation {
        Rotation::Settled => (None, None),
        Rotation::Introduced { since, .. } => (Some(since.to_string()), None),
        Rotation::Retiring { until, .. } => (None, Some(until.to_string())),
    };
    let annotations = secret.metadata.annotations.get_or_insert_with(BTreeMap::new);
    for (key, text) in [
        (CA_VALIDITY, Some(set.ca.validity.to_string())),
        (VALIDITY, Some(set.leaf.validity.to_string())),
        (NAMES, Some(set.names.join(","))),
        (INTRODUCED, introduced),
        (RETIRING, retiring),
    ] {
        match text {
            Some(text) => annotations.insert(key.to_owned(), text),
            None => annotations.remove(key),
        };
    }
    secret
}

#[cfg(test)]
mod tests {
    use super::super::material::tests::phases;
    use super::*;

    #[test]
    fn a_secret_gives_back_what_was_written_in_every_phase() {
        for set in phases() {
            let secret = write(Secret::default(), "outrigger-injector-tls", &set);
            assert_eq!(read(&secret), Ok(set));
        }
    }

    #[test]
    fn whatever_is_wrong_with_a_secret_is_found_and_named() {
        let [created, introduced, switched, ..] = <[Set; 5]>::try_from(phases()).unwrap();
        let put = |secret: &mut Secret, key: &str, text: &str| {
            let bytes = ByteString(text.as_bytes().to_vec());
            secret.data.as_mut().unwrap().insert(key.into(), bytes);
        };
        let note = |secret: &mut Secret, key: &str, text: &str| {
            secret.metadata.annotations.as_mut().unwrap().insert(key.into(), text.into());
        };
        type Damage<'a> = &'a dyn Fn(&mut Secret);
        let damages: [(&str, Damage<'_>); 14] = [
            ("ca.crt is missing", &|secret| secret.data = None),
            ("ca.crt has 0 certificates", &|secret| put(secret, CA_CERTIFICATE, "garbage")),
            ("ca.crt has 2 certificates", &|secret| put(secret, CA_CERTIFICATE, &introduced.bundle())),
            ("ca.key: ", &|secret| put(secret, CA_KEY, "garbage")),
            ("ca.key: private key and certificate don't", &|secret| put(secret, CA_KEY, &created.leaf.key)),
            ("tls.key: private key and certificate don't", &|secret| put(secret, KEY, &created.ca.key)),
            ("tls.key: no CERTIFICATE section", &|secret| put(secret, CERTIFICATE, "garbage")),
            ("tls.crt: the certificate isn't valid for ", &|secret| {
                put(secret, CERTIFICATE, &switched.leaf.certificate);
                put(secret, KEY, &switched.leaf.key);
            }),
            ("annotation outrigger.dev/ca-validity", &|secret| note(secret, CA_VALIDITY, "always")),
            ("annotation outrigger.dev/certificate-validity", &|secret| note(secret, VALIDITY, "2026-11-21T12:00:00Z")),
            ("tls.crt: the certificate isn't valid for ", &|secret| {
                note(secret, VALIDITY, "2026-11-21T12:00:00Z/2099-01-01T00:00:00Z");
            }),
            ("tls.crt: the certificate isn't valid for other.svc", &|secret| note(secret, NAMES, "other.svc")),
            ("annotation outrigger.dev/certificate-names", &|secret| {
                secret.metadata.annotations.as_mut().unwrap().remove(NAMES);
            }),
            ("annotation outrigger.dev/ca-introduced", &|secret| note(secret, INTRODUCED, "yesterday")),
        ];
        for (expected, damage) in damages {
            let mut secret = write(Secret::default(), "outrigger-injector-tls", &created);
            damage(&mut secret);
            let error = read(&secret).unwrap_err();
            assert!(error.starts_with(expected), "{error:?} should begin with {expected:?}");
        }
        let mut secret = write(Secret::default(), "outrigger-injector-tls", &switched);
        let garbage = "-----BEGIN CERTIFICATE-----\nZ2FyYmFnZQ==\n-----END CERTIFICATE-----\n";
        put(&mut secret, CA_CERTIFICATE, &format!("{}{garbage}", switched.ca.certificate));
        assert!(read(&secret).unwrap_err().starts_with("ca.crt: "));
    }

    #[test]
    fn what_others_keep_in_the_secret_stays() {
        let mut secret = Secret { type_: Some("kubernetes.io/tls".into()), ..Secret::default() };
        secret.metadata.resource_version = Some("7".into());
        secret.metadata.labels = Some([("app".to_owned(), "injector".to_owned())].into());
        let [created, introduced, ..] = <[Set; 5]>::try_from(phases()).unwrap();
        let secret = write(write(secret, "x", &introduced), "x", &created);
        assert_eq!(secret.type_.as_deref(), Some("kubernetes.io/tls"));
        assert_eq!(secret.metadata.resource_version.as_deref(), Some("7"));
        assert_eq!(secret.metadata.labels.as_ref().unwrap()["app"], "injector");
        assert_eq!(read(&secret), Ok(created));
        let shown = format!("{introduced:?}");
        assert!(!shown.contains("PRIVATE") && shown.contains("introduced"), "{shown}");
    }
}
