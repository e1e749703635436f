//! The cloud's regions and where their endpoints are.

/// Every region of the vendor's SDK table.
pub const REGIONS: [&str; 18] = [
    "af-north-1",
    "af-south-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "cn-east-3",
    "cn-east-5",
    "cn-north-11",
    "cn-north-4",
    "cn-north-9",
    "cn-south-1",
    "cn-southwest-2",
    "eu-west-101",
    "la-north-2",
    "la-south-2",
    "me-east-1",
    "sa-brazil-1",
    "tr-west-1",
];

/// A region that is in no table of the vendor's.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "unknown region `{name}`, the nearest known one is `{nearest}`; for a region that is not listed, give its endpoint"
)]
pub struct UnknownRegion {
    /// What was asked for.
    pub name: String,
    /// The known region whose name is most like it.
    pub nearest: &'static str,
}

/// The endpoints of one region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// The Workspace service.
    pub workspace: String,
    /// The identity service, which gives tokens and knows the projects.
    pub iam: String,
}

/// Where the services of a region are.
///
/// # Errors
/// No table of the vendor's lists the region.
pub fn endpoints(region: &str) -> Result<Endpoints, UnknownRegion> {
    if !REGIONS.contains(&region) {
        let nearest = REGIONS
            .into_iter()
            .min_by_key(|known| strsim::damerau_levenshtein(known, region))
            .expect("there are regions");
        return Err(UnknownRegion { name: region.to_owned(), nearest });
    }
    let iam = match region {
        // These two have no row of their own in the identity SDK: it falls back to the global one.
        "af-north-1" | "cn-north-11" => "https://iam.myhuaweicloud.com".to_owned(),
        // The identity service of this region moved to the European domain, Workspace did not.
        "eu-west-101" => "https://iam.eu-west-101.myhuaweicloud.eu".to_owned(),
        _ => format!("https://iam.{region}.myhuaweicloud.com"),
    };
    Ok(Endpoints { workspace: format!("https://workspace.{region}.myhuaweicloud.com"), iam })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_region_has_endpoints() {
        for region in REGIONS {
            let endpoints = endpoints(region).unwrap();
            assert_eq!(
                endpoints.workspace,
                format!("https://workspace.{region}.myhuaweicloud.com")
            );
        }
        assert_eq!(endpoints("cn-north-11").unwrap().iam, "https://iam.myhuaweicloud.com");
        assert_eq!(
            endpoints("eu-west-101").unwrap().iam,
            "https://iam.eu-west-101.myhuaweicloud.eu"
        );
    }

    #[test]
    fn an_unknown_region_is_answered_with_the_nearest() {
        let wrong = endpoints("ap-south-east-3").unwrap_err();
        assert_eq!(wrong.nearest, "ap-southeast-3");
        assert!(wrong.to_string().contains("`ap-south-east-3`"));
    }
}
