//! Where a hub is: its URI.

use std::fmt;

use tokio_tungstenite::tungstenite::http::Uri;

/// Port of a `wss` URI that names none (RFC 6455, 3).
const PORT: u16 = 443;

/// The URI of a hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hub {
    text: String,
    uri: Uri,
}

impl Hub {
    /// From a `wss` URI with a host, without user and fragment; `None`: it is none.
    pub fn new(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let host = uri.host().is_some_and(|host| !host.is_empty());
        let authority = uri.authority()?.as_str();
        // Behind the brackets of an IPv6 address.
        let tail = authority.rsplit(']').next().unwrap_or_default();
        let port = tail.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_ok_and(|port| port != 0));
        let bare = !authority.contains('@');
        (uri.scheme_str() == Some("wss") && host && bare && port).then(|| Self { text: text.to_owned(), uri })
    }

    pub(super) const fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Its host; an IPv6 address without brackets.
    pub(super) fn host(&self) -> &str {
        self.uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
    }

    pub(super) fn port(&self) -> u16 {
        self.uri.port_u16().unwrap_or(PORT)
    }
}

impl fmt::Display for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hubs_are_reached_by_wss_alone() {
        let hub = Hub::new("wss://hub.example:4443/bacnet").unwrap();
        assert_eq!(
            (hub.host(), hub.port(), hub.to_string().as_str()),
            ("hub.example", 4443, "wss://hub.example:4443/bacnet")
        );
        let hub = Hub::new("wss://[fe80::1]").unwrap();
        assert_eq!((hub.host(), hub.port()), ("fe80::1", 443));
        for bad in [
            "",
            "hub",
            "ws://hub:1",
            "https://hub",
            "wss://",
            "wss://:1",
            "wss://hub:0",
            "wss://me@hub",
            "wss://hub:99999",
            "wss:// hub",
        ] {
            assert_eq!(Hub::new(bad), None, "{bad}");
        }
    }
}
