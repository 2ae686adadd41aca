//! Generates Rust from the .proto files with protox, so that no `protoc` is needed.
//!
//! A service whose name ends with `Api` gets a trait and a dispatcher from method names to that trait: its calls are carried by one generic
//! server, and its components know nothing of gRPC. Every other service gets tonic's server and client.

use std::error::Error;
use std::fmt::Write as _;

use prost_build::{Service, ServiceGenerator};

const FILES: &[&str] = &[
    "panther/v1/state.proto",
    "panther/v1/api.proto",
    "panther/v1/peers.proto",
    "panther/v1/options.proto",
    "panther/v1/outputs_api.proto",
    "panther/v1/alerts_api.proto",
    "panther/v1/source_api.proto",
    "panther/v1/analysis_api.proto",
    "panther/v1/node_api.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_files(FILES)?;
    let descriptors = compiler.file_descriptor_set();
    let mut methods = String::from("&[\n");
    for service in descriptors.file.iter().flat_map(|file| &file.service) {
        for method in &service.method {
            writeln!(methods, "    ({:?}, {:?}),", service.name(), method.name())?;
        }
    }
    methods.push(']');
    let out = std::env::var("OUT_DIR")?;
    std::fs::write(format!("{out}/methods.rs"), methods)?;
    // As bytes: the types of prost drop the options of this project.
    std::fs::write(
        format!("{out}/descriptors.bin"),
        compiler.encode_file_descriptor_set(),
    )?;
    prost_build::Config::new()
        // Hash order must never reach the log: maps are ordered.
        .btree_map(["."])
        .bytes(["."])
        .service_generator(Box::new(Services {
            tonic: tonic_prost_build::configure().service_generator(),
        }))
        .compile_fds(descriptors)?;
    Ok(())
}

struct Services {
    tonic: Box<dyn ServiceGenerator>,
}

impl ServiceGenerator for Services {
    fn generate(&mut self, service: Service, buf: &mut String) {
        match service.proto_name.strip_suffix("Api") {
            None | Some("") => self.tonic.generate(service, buf),
            Some(_) => buf.push_str(&api(&service)),
        }
    }

    fn finalize(&mut self, buf: &mut String) {
        self.tonic.finalize(buf);
    }

    fn finalize_package(&mut self, package: &str, buf: &mut String) {
        self.tonic.finalize_package(package, buf);
    }
}

/// The trait of an API, its dispatcher, and what each request says of its method.
fn api(service: &Service) -> String {
    let name = &service.proto_name;
    let (mut functions, mut arms, mut requests) = (String::new(), String::new(), String::new());
    for method in &service.methods {
        let (function, proto_name) = (&method.name, &method.proto_name);
        let (input, output) = (&method.input_type, &method.output_type);
        let docs: String = method
            .comments
            .leading
            .iter()
            .map(|line| format!("        ///{line}\n"))
            .collect();
        functions += &format!(
            "{docs}        fn {function}(&self, context: &C, request: {input}) -> impl Future<Output = Result<{output}, E>> + ::core::marker::Send;\n"
        );
        arms += &format!(
            "            {proto_name:?} => match <{input} as ::prost::Message>::decode(request) {{\n\
             \x20               Ok(request) => Box::pin(api.{function}(context, request)).await.map(|answer| ::prost::Message::encode_to_vec(&answer).into()),\n\
             \x20               Err(error) => Err(error.into()),\n            }},\n"
        );
        requests += &format!(
            "impl crate::methods::ApiRequest for {input} {{\n    type Answer = {output};\n    const PATH: &'static str = \"/{}.{name}/{proto_name}\";\n}}\n",
            service.package
        );
    }
    let docs: String = service
        .comments
        .leading
        .iter()
        .map(|line| format!("    ///{line}\n"))
        .collect();
    let module = service
        .name
        .chars()
        .fold(String::new(), |mut module, letter| {
            if letter.is_uppercase() && !module.is_empty() {
                module.push('_');
            }
            module.extend(letter.to_lowercase());
            module
        });
    format!(
        "/// The server side of `{name}`.\npub mod {module} {{\n    use super::*;\n{docs}    ///\n    /// `C` is what a call carries beside its request, `E` why a call fails.\n\
         \x20   pub trait {name}<C: Sync, E>: ::core::marker::Send + Sync {{\n{functions}    }}\n\
         \x20   /// Decodes the request of a method, carries out the call, and encodes its answer; `None` = there is no such method.\n\
         \x20   pub async fn dispatch<A, C, E>(api: &A, context: &C, method: &str, request: ::prost::bytes::Bytes) -> Option<Result<::prost::bytes::Bytes, E>>\n\
         \x20   where A: {name}<C, E>, C: Sync, E: From<::prost::DecodeError> + ::core::marker::Send {{\n        Some(match method {{\n{arms}            _ => return None,\n        }})\n    }}\n}}\n{requests}"
    )
}
