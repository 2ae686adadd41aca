"""Stand-ins for the AWS client library where it is not installed.

The pack's AWS helpers import `boto3` at their top, for a look-up of resources that few policies use; a
missing library must not take with it every rule that shares the helper. The stand-ins import, and say
what is not there when they are called. An installed library goes first: this finder is asked last.
"""

import importlib.abc
import importlib.machinery
import sys

NAMES = ("boto3", "botocore", "botocore.exceptions")


class ResourceLookupUnavailable(Exception):
    """Resources cannot be looked up from a detection here."""


def _refuse(*_args, **_kwargs):
    raise ResourceLookupUnavailable(
        "resource_lookup is not available in this version: detections cannot read resources, and boto3 is not installed"
    )


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the stand-ins."""

    def find_spec(self, fullname, _path=None, _target=None):
        if fullname in NAMES:
            return importlib.machinery.ModuleSpec(fullname, self, is_package=fullname == "botocore")
        return None

    def create_module(self, _spec):
        return None

    def exec_module(self, module):
        if module.__name__ == "boto3":
            module.resource = module.client = module.Session = _refuse
        elif module.__name__ == "botocore.exceptions":
            for name in ("BotoCoreError", "ClientError", "NoCredentialsError", "NoRegionError"):
                setattr(module, name, type(name, (Exception,), {}))


def install():
    """Ask for the stand-ins after everything else."""
    if not any(isinstance(finder, Finder) for finder in sys.meta_path):
        sys.meta_path.append(Finder())
