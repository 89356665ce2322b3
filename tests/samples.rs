//! Is every sample in `config/` a configuration that semper takes as it is? Checked as CI of a user would: `-t --offline`,
//! without names, sockets, certificate files or root.
#![allow(clippy::unwrap_used)]

mod bed;

use bed::root;
use bed::server::Semper;

#[test]
fn every_sample_passes_the_offline_test() {
    let mut seen = 0;
    let folders = ["config", "config/fleet"].map(|folder| std::fs::read_dir(root().join(folder)).unwrap());
    for entry in folders.into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|end| end != "conf") {
            continue;
        }
        let out = Semper::run(&["-t", "--offline", "-c", path.to_str().unwrap(), "-e", "stderr"]);
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success() && said.contains("test is successful"), "{}:\n{said}", path.display());
        assert!(!said.contains("[emerg]"), "{}:\n{said}", path.display());
        seen += 1;
    }
    assert!(seen >= 4, "{seen} samples");
}

#[test]
fn the_sample_of_semper_conf_stands_beside_an_nginx_conf() {
    let folder = tempfile::tempdir().unwrap();
    let conf = folder.path().join("nginx.conf");
    let plain = "events {} http { server { listen 443 ssl; server_name example.com www.example.com;
        ssl_certificate /etc/letsencrypt/live/example.com/fullchain.pem; ssl_certificate_key /etc/letsencrypt/live/example.com/privkey.pem; } }";
    std::fs::write(&conf, plain).unwrap();
    std::fs::copy(root().join("config/beside-nginx/semper.conf"), folder.path().join("semper.conf")).unwrap();
    let out = Semper::run(&["-t", "--offline", "-c", conf.to_str().unwrap(), "-e", "stderr"]);
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{said}");
}
