"""What is newer than the images that manifests name, by the policy they give; and how it is written down."""
