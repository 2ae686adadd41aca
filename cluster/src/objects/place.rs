//! Where objects lie: a folder, or a bucket of S3, of what speaks its protocol, of Google's or of Microsoft's cloud.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, ObjectStoreScheme, RetryConfig};
use url::Url;

/// Schemes of buckets, as they are written.
const SCHEMES: [&str; 3] = ["s3", "gs", "az"];
/// Names of variables that a bucket's credentials and settings come in begin with one of these.
const VARIABLES: [&str; 3] = ["AWS_", "GOOGLE_", "AZURE_"];

/// How long a bucket may take to let itself be connected to.
const CONNECT: Duration = Duration::from_secs(5);
/// How long one answer of a bucket may take, its content included: an object is read no faster than it is worked on.
const ANSWER: Duration = Duration::from_secs(900);
/// How often and how long a call that failed is tried again before its caller hears of it.
const RETRIES: usize = 5;
const RETRYING: Duration = Duration::from_secs(15);

/// Where the objects of a cluster lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a folder, which the nodes share if they are several.
    Folder(PathBuf),
    /// In a bucket.
    Bucket(Bucket),
}

/// A bucket, and a folder in it if its address names one.
#[derive(Clone, PartialEq, Eq)]
pub struct Bucket {
    /// Its address, such as `s3://logs/panther`.
    pub(super) url: Url,
    /// How it is reached, credentials among them: never shown.
    pub(super) options: BTreeMap<String, String>,
}

impl Default for Place {
    fn default() -> Self {
        Self::Folder(PathBuf::new())
    }
}

impl Bucket {
    /// The bucket, and the folder in it. Whether it can be reached shows at the first call.
    pub(super) fn open(&self) -> Result<(Arc<dyn ObjectStore>, Path), object_store::Error> {
        let (scheme, folder) = ObjectStoreScheme::parse(&self.url)?;
        let client = ClientOptions::new()
            .with_connect_timeout(CONNECT)
            .with_timeout(ANSWER);
        let retry = RetryConfig {
            backoff: BackoffConfig::default(),
            max_retries: RETRIES,
            retry_timeout: RETRYING,
        };
        // Options that are none of this cloud's are of another one's tools. Plain HTTP is an option as well, so they come last.
        macro_rules! built {
            ($builder:ty) => {{
                let mut builder = <$builder>::new()
                    .with_url(self.url.as_str())
                    .with_retry(retry)
                    .with_client_options(client);
                for (name, value) in &self.options {
                    if let Ok(key) = name.parse() {
                        builder = builder.with_config(key, value);
                    }
                }
                Arc::new(builder.build()?)
            }};
        }
        let store: Arc<dyn ObjectStore> = match scheme {
            ObjectStoreScheme::GoogleCloudStorage => built!(GoogleCloudStorageBuilder),
            ObjectStoreScheme::MicrosoftAzure => built!(MicrosoftAzureBuilder),
            _ => built!(AmazonS3Builder),
        };
        Ok((store, Path::parse(folder)?))
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "Bucket({})", self.url)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => write!(to, "file://{}", folder.display()),
            Self::Bucket(bucket) => bucket.url.fmt(to),
        }
    }
}

impl Place {
    /// Reads an address: `file:///a/folder`, `s3://bucket/folder`, `gs://bucket/folder` or `az://container/folder`.
    ///
    /// # Errors
    /// It is none of them; what it should be.
    pub fn read(text: &str) -> Result<Self, String> {
        if let Some(folder) = text.strip_prefix("file://") {
            if !folder.starts_with('/') {
                return Err(
                    "a file URL has three slashes and a whole path: \"file:///a/folder\"".into(),
                );
            }
            return Ok(Self::Folder(PathBuf::from(folder)));
        }
        let scheme = text.split(':').next().unwrap_or_default();
        if !SCHEMES.contains(&scheme) {
            return Err(format!(
                "{scheme:?} is no kind of object store that this version knows; write \"file:///a/folder\", \"s3://bucket/folder\", \"gs://bucket/folder\" or \
                 \"az://container/folder\", or leave the key out"
            ));
        }
        let url = Url::parse(text).map_err(|error| format!("it is no URL: {error}"))?;
        if url.password().is_some() || !url.username().is_empty() {
            return Err(
                "credentials do not belong in the address, where lists and logs show them: give them in the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)".into(),
            );
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(format!(
                "it names no bucket; write \"{scheme}://bucket/folder\""
            ));
        }
        ObjectStoreScheme::parse(&url).map_err(|error| error.to_string())?;
        Ok(Self::Bucket(Bucket {
            url,
            options: BTreeMap::new(),
        }))
    }

    /// With what the environment says of credentials and settings, under the names that each cloud's own tools use.
    #[must_use]
    pub fn with_variables<'a>(
        mut self,
        variables: impl IntoIterator<Item = (&'a String, &'a String)>,
    ) -> Self {
        if let Self::Bucket(bucket) = &mut self {
            for (name, value) in variables {
                if VARIABLES.iter().any(|prefix| name.starts_with(prefix)) && !value.is_empty() {
                    bucket.options.insert(name.to_lowercase(), value.clone());
                }
            }
        }
        self
    }

    /// At another address than the cloud's own: of a server that speaks its protocol. Plain HTTP is used only where the address says so.
    #[must_use]
    pub fn with_endpoint(mut self, endpoint: &str) -> Self {
        if let Self::Bucket(bucket) = &mut self {
            let mut set = |name: &str, value: &str| {
                bucket.options.insert(name.to_owned(), value.to_owned());
            };
            set("endpoint", endpoint);
            if endpoint.starts_with("http://") {
                set("allow_http", "true");
            }
        }
        self
    }

    /// In this region.
    #[must_use]
    pub fn with_region(mut self, region: &str) -> Self {
        if let Self::Bucket(bucket) = &mut self {
            bucket.options.insert("region".into(), region.into());
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_a_folder_or_a_bucket_and_never_a_secret() {
        let folder = Place::read("file:///a/b").unwrap();
        assert_eq!(folder, Place::Folder("/a/b".into()));
        for text in ["s3://logs/panther", "gs://logs", "az://logs/a/b"] {
            assert_eq!(Place::read(text).unwrap().to_string(), text);
        }
        for text in [
            "file://a",
            "s3://",
            "ftp://a/b",
            "/a/b",
            "s3://me:secret@logs",
            "",
        ] {
            let wrong = Place::read(text).unwrap_err();
            assert!(!wrong.contains("secret@"), "{wrong}");
        }
        let variables = BTreeMap::from([
            ("AWS_SECRET_ACCESS_KEY".to_owned(), "hush".to_owned()),
            ("HOME".to_owned(), "/root".to_owned()),
        ]);
        let bucket = Place::read("s3://logs").unwrap();
        let bucket = bucket.with_variables(&variables);
        assert!(!format!("{bucket:?} {bucket}").contains("hush"));
        let Place::Bucket(Bucket { options, .. }) = bucket else {
            panic!("{bucket:?}");
        };
        assert_eq!(options.len(), 1);
    }
}
