//! Whom we take for the API server: as webpki does, and as Go does where the server's very certificate is the CA.

use std::sync::Arc;

use jiff::{civil::DateTime, tz::TimeZone};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};

/// Trusts what the certificates of a kubeconfig have signed, and these themselves.
///
/// webpki takes a certificate as an authority only, so that it refuses what kubectl takes: a kubeconfig whose CA is
/// the server's own certificate, whoever signed it (what Rancher's UI gives for RKE2, kube-rs#1767).
#[derive(Debug)]
struct Trust {
    certificates: Vec<CertificateDer<'static>>,
    webpki: Arc<WebPkiServerVerifier>,
}

/// Makes `tls` trust `certificates` (DER).
///
/// # Errors
/// One of them is no certificate, or there is none.
pub(super) fn trust(tls: &mut ClientConfig, certificates: &[Vec<u8>]) -> Result<(), String> {
    let certificates: Vec<_> = certificates.iter().cloned().map(CertificateDer::from).collect();
    let mut roots = RootCertStore::empty();
    for certificate in &certificates {
        let added = roots.add(certificate.clone());
        added.map_err(|error| format!("its certificate authority cannot be used: {error}"))?;
    }
    let webpki = WebPkiServerVerifier::builder(Arc::new(roots)).build();
    let webpki =
        webpki.map_err(|error| format!("its certificate authority cannot be used: {error}"))?;
    tls.dangerous().set_certificate_verifier(Arc::new(Trust { certificates, webpki }));
    Ok(())
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.webpki.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        if verified.is_ok() || !self.certificates.iter().any(|trusted| trusted == end_entity) {
            return verified;
        }
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
        let (from, until) =
            validity(end_entity).ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        if now < from {
            return Err(Error::InvalidCertificate(CertificateError::NotValidYet));
        }
        if now > until {
            return Err(Error::InvalidCertificate(CertificateError::Expired));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

/// From when and until when a certificate is valid, in seconds of Unix time
/// ([RFC 5280, 4.1](https://www.rfc-editor.org/rfc/rfc5280#section-4.1)); webpki tells nobody.
fn validity(certificate: &[u8]) -> Option<(i64, i64)> {
    const VERSION: u8 = 0xa0;
    let (_, certificate, _) = element(certificate)?;
    let (_, mut to_be_signed, _) = element(certificate)?;
    if to_be_signed.first() == Some(&VERSION) {
        (_, _, to_be_signed) = element(to_be_signed)?;
    }
    // Serial number, signature algorithm, issuer.
    for _ in 0..3 {
        (_, _, to_be_signed) = element(to_be_signed)?;
    }
    let (_, validity, _) = element(to_be_signed)?;
    let (from_form, from, rest) = element(validity)?;
    let (until_form, until, _) = element(rest)?;
    Some((seconds(from_form, from)?, seconds(until_form, until)?))
}

/// The first element of some DER: its tag, its content, and what is behind it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, length], rest) = der.split_first_chunk()?;
    let (length, rest) = if length < 0x80 {
        (usize::from(length), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
        let length = digits.iter().try_fold(0_usize, |length, digit| {
            length.checked_mul(256)?.checked_add(usize::from(*digit))
        })?;
        (length, rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// Reads a `UTCTime`, whose years are those from 1950 to 2049, or a `GeneralizedTime`.
fn seconds(form: u8, time: &[u8]) -> Option<i64> {
    const UTC_TIME: u8 = 0x17;
    let time = std::str::from_utf8(time).ok()?;
    let time = match form {
        UTC_TIME if time.get(..2)? >= "50" => format!("19{time}"),
        UTC_TIME => format!("20{time}"),
        _ => time.to_owned(),
    };
    let time = DateTime::strptime("%Y%m%d%H%M%SZ", time).ok()?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use base64::{Engine as _, prelude::BASE64_STANDARD};

    use super::*;

    // openssl req -x509 …: an authority, the certificate of api.example from it, and one that api.example has made for
    // itself as an authority.
    const AUTHORITY: &str = "MIIBfzCCASWgAwIBAgIUawX138ZxaEgll85kIKw6UEDIapYwCgYIKoZIzj0EAwIwFDESMBAGA1UEAwwJYXV0aG9yaXR5MCAXDTI2MTEyNTIzMzEzOFoYDzIxMjYxMTAxMjMzMTM4WjAUMRIwEAYDVQQDDAlhdXRob3JpdHkwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQoU+a8LyjD3k9BHWli6Rbwa5GU2KjjalWdjkFsSSOAiXz7Ao2mPq3FGaB8RAu/IZ+wxF+CboqycO59XGS+yRPIo1MwUTAdBgNVHQ4EFgQUVto9LKhOORLNZa7gWesVdOvNGKIwHwYDVR0jBBgwFoAUVto9LKhOORLNZa7gWesVdOvNGKIwDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNIADBFAiEAsM75SCC+/1erdnXc+F9kggQrvJJaF7pcxrF13DpWN3UCIGEqWpBwLNnt4DMVc05TnG24D6CzsM3HRBUndgsE7CS+";
    const OF_AUTHORITY: &str = "MIIBjDCCATKgAwIBAgIUWCtjM/NqoSXopKrLHyKqSSzmT8cwCgYIKoZIzj0EAwIwFDESMBAGA1UEAwwJYXV0aG9yaXR5MCAXDTI2MTEyNTIzMzEzOFoYDzIwNTQwNDEyMjMzMTM4WjAPMQ0wCwYDVQQDDARsZWFmMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEgNneMWFHK+1ObzktAs6cg7fzNORBdk83wt+/eUgUqg8qQ3gwnz02oUjlDrdh0epA/WZ7p3IM/8eh3HxW0GpZA6NlMGMwFgYDVR0RBA8wDYILYXBpLmV4YW1wbGUwCQYDVR0TBAIwADAdBgNVHQ4EFgQUXwJxAlzsodqQQ6fKZtiGmQ3fzpswHwYDVR0jBBgwFoAUVto9LKhOORLNZa7gWesVdOvNGKIwCgYIKoZIzj0EAwIDSAAwRQIgPLhaMj2wvjC/AcqT/tEmoqsSOPDoGfGP5Xc7fuRd2JkCIQDeXRj3d+3OplxETRS/Xq9KUeunld39x2THq2/2OAJbPA==";
    const OF_ITSELF: &str = "MIIBjTCCATOgAwIBAgIUJyfNeltID/GPaVELlL5a3ALK8okwCgYIKoZIzj0EAwIwDzENMAsGA1UEAwwEc2VsZjAgFw0yNjExMjUyMzMxMzhaGA8yMDU0MDQxMjIzMzEzOFowDzENMAsGA1UEAwwEc2VsZjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABBSm5B7ZpRf/0cY+7S+AZsUkvOA9lWyKTJVV5Z6+E8VF0ixvCVh7PIOfe3AEEREg96lbrzPUMyKqBaBnaLfOf9ejazBpMB0GA1UdDgQWBBQaCEkHyH0iCA+aMxuNMTw76FkUGTAfBgNVHSMEGDAWgBQaCEkHyH0iCA+aMxuNMTw76FkUGTAPBgNVHRMBAf8EBTADAQH/MBYGA1UdEQQPMA2CC2FwaS5leGFtcGxlMAoGCCqGSM49BAMCA0gAMEUCIDfbBv3Og1bVBJ3knDLc701EaCXmqjW+iVX9v3HYZeQ/AiEAjuMqb6HQXHi56maIvjiJoS1qnYeCHikKSoHq9BtPCtU=";

    const IN_2030: u64 = 1_900_000_000;

    fn certificate(der: &str) -> CertificateDer<'static> {
        CertificateDer::from(BASE64_STANDARD.decode(der).expect("is base64"))
    }

    fn verified(trusted: &str, shown: &str, name: &str, seconds: u64) -> Result<(), Error> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let certificates = vec![certificate(trusted)];
        let mut roots = RootCertStore::empty();
        roots.add(certificate(trusted)).expect("is a certificate");
        let webpki = WebPkiServerVerifier::builder(Arc::new(roots)).build().expect("a verifier");
        let name = ServerName::try_from(name.to_owned()).expect("is a name");
        let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let trust = Trust { certificates, webpki };
        trust.verify_server_cert(&certificate(shown), &[], &name, &[], now).map(drop)
    }

    #[test]
    fn a_server_is_trusted_by_its_authority_and_by_its_very_certificate() {
        for (trusted, shown) in
            [(AUTHORITY, OF_AUTHORITY), (OF_AUTHORITY, OF_AUTHORITY), (OF_ITSELF, OF_ITSELF)]
        {
            verified(trusted, shown, "api.example", IN_2030).expect("is trusted");
        }
    }

    #[test]
    fn neither_another_name_nor_another_time_nor_another_certificate_is_trusted() {
        use CertificateError::{Expired, NotValidYet};
        for trusted in [OF_AUTHORITY, OF_ITSELF] {
            let wrong =
                |name, seconds| verified(trusted, trusted, name, seconds).expect_err("is refused");
            let other = wrong("other.example", IN_2030);
            assert!(matches!(other, Error::InvalidCertificate(_)), "{other:?}");
            for (seconds, why) in [(1_000_000_000, NotValidYet), (9_000_000_000, Expired)] {
                assert_eq!(wrong("api.example", seconds), Error::InvalidCertificate(why));
            }
        }
        for (trusted, shown) in [(OF_ITSELF, OF_AUTHORITY), (AUTHORITY, OF_ITSELF)] {
            verified(trusted, shown, "api.example", IN_2030).expect_err("is refused");
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_time() {
        let whole = certificate(OF_AUTHORITY);
        assert!(validity(&whole).is_some());
        for end in 0..whole.len() {
            assert_eq!(validity(whole.get(..end).expect("is a part")), None, "{end}");
        }
    }
}
