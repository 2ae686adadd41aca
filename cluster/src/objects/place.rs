//! Location of the objects: a folder, or a bucket of S3, of an S3-compatible server, of Google Cloud Storage or of Azure.

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

/// URL schemes of buckets.
const SCHEMES: [&str; 3] = ["s3", "gs", "az"];
/// Prefixes of the environment variables with a bucket's credentials and settings.
const VARIABLES: [&str; 3] = ["AWS_", "GOOGLE_", "AZURE_"];

/// Deadline of connection setup to a bucket.
const CONNECT: Duration = Duration::from_secs(5);
/// Deadline of one answer of a bucket, including its content. It is long, because an object is streamed only as fast as it is processed.
const ANSWER: Duration = Duration::from_secs(900);
/// Retries of a failed call, and the limit of their total time, before the caller gets the error.
const RETRIES: usize = 5;
const RETRYING: Duration = Duration::from_secs(15);

/// Location of a cluster's objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A folder. All nodes of a cluster must share it.
    Folder(PathBuf),
    /// A bucket.
    Bucket(Bucket),
}

/// A bucket, and a folder in it if its URL names one.
#[derive(Clone, PartialEq, Eq)]
pub struct Bucket {
    /// URL of the bucket, such as `s3://logs/panther`.
    pub(super) url: Url,
    /// Settings, including credentials. Never displayed.
    pub(super) options: BTreeMap<String, String>,
}

impl Default for Place {
    fn default() -> Self {
        Self::Folder(PathBuf::new())
    }
}

impl Bucket {
    /// Opens the bucket. Returns the client and the folder in the bucket. The first call shows if the bucket is reachable.
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
        // Options that this cloud's client does not know belong to other tools and are ignored. Plain HTTP is one of the options, so the options are
        // applied last.
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
    /// Parses a URL: `file:///a/folder`, `s3://bucket/folder`, `gs://bucket/folder` or `az://container/folder`.
    ///
    /// # Errors
    /// The text is not such a URL. The error says what is expected.
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

    /// Adds credentials and settings from environment variables. The names are those of each cloud's own tools.
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

    /// Sets the endpoint of an S3-compatible server instead of the cloud's own. Plain HTTP is used only if the endpoint starts with `http://`.
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

    /// Sets the region.
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
