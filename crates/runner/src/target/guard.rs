//! Where the runner may go: descriptors name addresses, and none of them may turn it into a way into our own network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;

use super::CONNECT;

/// What is allowed beyond public addresses.
#[derive(Debug)]
pub(super) struct Rules {
    /// The host of our own endpoint.
    pub(super) own_host: Option<String>,
    /// Everything.
    pub(super) allow_private: bool,
}

/// Keeps to the rules: before a request, by the address; when it connects, by what the name resolves to then.
#[derive(Debug, Clone)]
pub(super) struct Guard(Arc<Rules>);

impl Guard {
    pub(super) fn new(rules: Rules) -> Self {
        Self(Arc::new(rules))
    }

    /// Refuses an address with the end of a sentence that begins with the name of its field.
    pub(super) fn check(&self, url: &Url) -> Result<(), String> {
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or("names no host")?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("is of scheme `{}`, expected `https`", url.scheme()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("holds a name or password: use `auth` or `headers`".into());
        }
        let literal = host.trim_matches(['[', ']']).parse::<IpAddr>().ok();
        let is_free = self.0.is_free(host);
        if literal.is_some_and(|address| !is_free && !is_public(address)) {
            return Err(format!("names `{host}`, which is not a public address: the runner does not go there"));
        }
        let is_loopback = literal.map_or(host == "localhost", |address| address.is_loopback());
        let is_own = self.0.own_host.as_deref() == Some(host);
        if url.scheme() == "http" && !is_own && !(is_free && is_loopback) {
            return Err("is not encrypted, expected `https`".into());
        }
        Ok(())
    }

    /// A client that follows no redirect, goes through no proxy, and connects to nothing that is not allowed.
    pub(super) fn client(&self, with_tls: bool) -> Result<reqwest::Client, String> {
        // Fails when a provider is installed already, which is just as well: it is the process's choice.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("mana-runner/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT)
            .pool_idle_timeout(Duration::from_secs(90))
            .dns_resolver(self.clone());
        if !with_tls {
            // Nothing to verify: reading the system's certificates costs time and memory, and fails where there are none.
            builder = builder.tls_certs_only([]);
        }
        builder.build().map_err(|error| format!("no client for other products could be made: {error}"))
    }
}

impl Rules {
    /// Whether addresses of this host are not looked at.
    fn is_free(&self, host: &str) -> bool {
        self.allow_private || self.own_host.as_deref() == Some(host)
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let rules = Arc::clone(&self.0);
        Box::pin(async move {
            let host = name.as_str();
            let found = tokio::net::lookup_host((host, 0)).await?;
            let found: Vec<SocketAddr> = found.filter(|found| rules.is_free(host) || is_public(found.ip())).collect();
            if found.is_empty() {
                return Err(format!("`{host}` has no public address: the runner does not go there").into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Whether an address is one of the public internet, by the IANA registries of special-purpose addresses.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = match (a, b, c) {
        // This network; shared by carriers; protocol assignments; benchmarks; multicast, reserved and broadcast.
        (0 | 224..=255, _, _) | (100, 64..=127, _) | (192, 0, 0) | (198, 18 | 19, _) => true,
        _ => false,
    };
    !(special || address.is_private() || address.is_loopback() || address.is_link_local() || address.is_documentation())
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let inner = |high: u16, low: u16| is_public_v4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match address.segments() {
        // Addresses that wrap one of the older kind: mapped, translated, and 6to4.
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, _, _, _, _, _] => inner(high, low),
        // Documentation; protocol assignments, Teredo among them.
        [0x2001, 0xdb8 | 0..=0x1ff, ..] | [0x3fff, 0..=0xfff, ..] => false,
        // What is left of the one block that is given out.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(own_host: &str, allow_private: bool) -> Guard {
        Guard::new(Rules { own_host: Some(own_host.into()), allow_private })
    }

    #[test]
    fn only_addresses_of_the_public_internet_are_public() {
        let public = [
            "1.1.1.1",
            "93.184.215.14",
            "172.32.0.1",
            "2606:4700::1111",
            "2002:101:101::1",
            "64:ff9b::1.1.1.1",
            "::ffff:8.8.8.8",
        ];
        let others = [
            "127.0.0.1",
            "127.8.8.8",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "192.0.0.8",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "203.0.113.9",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd12:3456::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::10.0.0.1",
            "2002:a00:1::1",
            "2001:db8::1",
            "2001::1",
            "::127.0.0.1",
            "fec0::1",
            "100::1",
        ];
        for (list, expected) in [(&public[..], true), (&others[..], false)] {
            for text in list {
                assert_eq!(is_public(text.parse().expect("an address")), expected, "{text}");
            }
        }
    }

    #[test]
    fn an_address_is_refused_however_it_is_written() {
        let guard = guard("mana.example", false);
        for url in [
            "https://127.0.0.1/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://0177.0.0.1/",
            "https://[::1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://169.254.169.254/latest/meta-data",
            "http://product.example/mcp",
            "http://localhost/",
            "ftp://product.example/",
            "https://me@product.example/",
            "https://:pw@product.example/",
        ] {
            let url = Url::parse(url).expect("an address");
            let reason = guard.check(&url).expect_err(url.as_str());
            assert!(!reason.contains("pw"), "{reason}");
        }
        for url in
            ["https://product.example/mcp?v=1", "https://1.1.1.1/", "https://mana.example/x", "http://mana.example/x"]
        {
            guard.check(&Url::parse(url).expect("an address")).expect(url);
        }
    }

    #[test]
    fn what_is_free_may_be_private_and_only_loopback_unencrypted() {
        let own = guard("127.0.0.1", false);
        own.check(&Url::parse("http://127.0.0.1:4000/mcp").expect("an address")).expect("our own host");
        own.check(&Url::parse("http://127.0.0.2:4000/mcp").expect("an address")).expect_err("another one");
        let free = guard("mana.example", true);
        free.check(&Url::parse("http://localhost:4000/mcp").expect("an address")).expect("allowed");
        free.check(&Url::parse("https://10.0.0.1/mcp").expect("an address")).expect("allowed");
        free.check(&Url::parse("http://10.0.0.1/mcp").expect("an address")).expect_err("not encrypted");
    }

    #[tokio::test]
    async fn a_name_is_judged_by_what_it_resolves_to() {
        let name = || "localhost".parse::<Name>().expect("a name");
        let refused = guard("mana.example", false).resolve(name()).await.err().expect("refused");
        assert_eq!(refused.to_string(), "`localhost` has no public address: the runner does not go there");
        assert!(guard("localhost", false).resolve(name()).await.is_ok());
        assert!(guard("mana.example", true).resolve(name()).await.is_ok());
    }
}
