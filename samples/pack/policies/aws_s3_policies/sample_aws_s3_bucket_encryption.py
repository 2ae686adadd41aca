def policy(resource):
    rules = resource.get("EncryptionRules") or []
    for rule in rules:
        default = rule.get("ApplyServerSideEncryptionByDefault") or {}
        if default.get("SSEAlgorithm") in ("AES256", "aws:kms", "aws:kms:dsse"):
            return True
    return False
