//! Section 11: images from a server, all at once; files on disk, compared byte by byte.
//!
//! The client is ureq, a blocking one that knows nothing of coroutines, and so is all else here: after `patch_all`
//! its calls of libc park the coroutine.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use ropewalk::{join_all, monkey, spawn};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::Outcome;
use crate::images::{IMAGES, serve};
use crate::show::timed;

/// Saves what is behind `url` under its last part; the name and the number of bytes.
fn download(
    agent: &ureq::Agent,
    url: &str,
    directory: &Path,
    bar: &ProgressBar,
) -> Result<(String, u64), ureq::Error> {
    let body = agent.get(url).call()?.into_body();
    bar.inc_length(body.content_length().unwrap_or(0));
    let path = url.split(['?', '#']).next().unwrap_or(url);
    let name = path.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("index").to_owned();
    // Two of the same name: the second fails, rather than to replace the first.
    let mut file = File::create_new(directory.join(&name))?;
    let length = io::copy(&mut bar.wrap_read(body.into_reader()), &mut file)?;
    Ok((name, length))
}

pub(crate) fn run(urls: &[String]) -> Outcome {
    monkey::patch_all()?;
    let own = urls.is_empty();
    let mut config = ureq::Agent::config_builder().timeout_recv_response(Some(Duration::from_secs(20)));
    let mut urls = urls.to_vec();
    if own {
        let (served, certificate) = serve()?;
        urls = served;
        let roots = RootCerts::from([Certificate::from_der(&certificate).to_owned()]);
        config = config.tls_config(TlsConfig::builder().root_certs(roots).build());
    }
    let agent = config.build().new_agent();
    let directory = std::env::temp_dir().join(format!("ropewalk-notes-{}", std::process::id()));
    fs::create_dir_all(&directory)?;
    println!("{} images, one coroutine each, into {}:", urls.len(), directory.display());
    // Drawn where standard error is a terminal.
    let bar = ProgressBar::no_length()
        .with_style(ProgressStyle::with_template("  {wide_bar} {bytes}/{total_bytes}")?);
    bar.set_length(0);
    let (results, took) = timed(|| {
        join_all(urls.iter().cloned().map(|url| {
            let (agent, directory, bar) = (agent.clone(), directory.clone(), bar.clone());
            spawn(move || timed(|| download(&agent, &url, &directory, &bar)))
        }))
    });
    bar.finish_and_clear();
    let mut sum = Duration::ZERO;
    for (result, url) in results.into_iter().zip(&urls) {
        let (result, took) = result?;
        sum += took;
        let scheme = url.split(':').next().unwrap_or("");
        match result {
            Ok((name, length)) => println!("  {name:<12} {length:>6} bytes  {scheme:<5}  {took:>8.1?}"),
            Err(error) => println!("  {url}: {error}"),
        }
    }
    println!("  all of them took {took:.1?}; one after the other would be {sum:.1?}");
    if own {
        for (name, bytes, _) in IMAGES {
            if fs::read(directory.join(name))? != bytes {
                return Err(format!("{name} differs from the original").into());
            }
        }
        println!("  every file is equal to its original, byte by byte");
        fs::remove_dir_all(&directory)?;
    }
    Ok(())
}
