//! Versions of nats-server.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

use crate::cluster::shell::{StartError, check, is_too_old};
use crate::config::ClusterConfig;

/// A nats-server that says that it has this version, and answers pings.
fn fake_nats(version: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = listener.local_addr().expect("it is bound");
    let serve = move |mut client: TcpStream| -> std::io::Result<()> {
        let info = format!(
            "INFO {{\"server_id\":\"fake\",\"version\":\"{version}\",\"proto\":1,\"headers\":true,\"max_payload\":1048576,\
             \"jetstream\":true}}\r\n"
        );
        client.write_all(info.as_bytes())?;
        for line in BufReader::new(client.try_clone()?).lines() {
            if line? == "PING" {
                client.write_all(b"PONG\r\n")?;
            }
        }
        Ok(())
    };
    std::thread::spawn(move || listener.incoming().map_while(Result::ok).try_for_each(serve));
    address
}

fn checked(version: &'static str) -> Result<(), StartError> {
    check(&ClusterConfig {
        servers: vec![format!("nats://{}", fake_nats(version))],
        name: "school".to_owned(),
        credentials: None,
        advertise: None,
    })
}

#[test]
fn a_nats_server_that_is_too_old_is_named_with_its_version_and_what_to_do() {
    let error = checked("2.8.4").expect_err("it is too old").to_string();
    assert!(error.contains("is nats-server 2.8.4") && error.contains("install 2.9 or later"), "{error}");
}

#[test]
fn versions_are_compared_as_numbers() {
    for (version, expected) in [
        ("2.8.4", true),
        ("1.10.1", true),
        ("2.9.0", false),
        ("2.10.0", false),
        ("2.10.0-beta.1", false),
        ("2.11.4", false),
        ("3.0.0", false),
        ("", false),
        ("dev", false),
    ] {
        assert_eq!(is_too_old(version), expected, "{version}");
    }
}
