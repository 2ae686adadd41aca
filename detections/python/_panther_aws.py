"""Stand-ins for the AWS client library: where it is not installed, and until it is first used where it is.

The pack's AWS helpers import `boto3` at their top, for a look-up of resources that few policies use. A
missing library must not take with it every rule that shares the helper: the stand-ins import, and say what
is not there when they are called. An installed one takes as long to import as half of the pack to load, and
its memory in every worker: so it is imported when something of it is called, or asked for.

The finders have no base class: `importlib.abc` imports thirty modules.
"""

import importlib
import importlib.machinery
import sys

NAMES = ("boto3", "botocore", "botocore.exceptions")


class ResourceLookupUnavailable(Exception):
    """Resources cannot be looked up from a detection here."""


def _refuse(*_args, **_kwargs):
    raise ResourceLookupUnavailable(
        "resource_lookup is not available in this version: detections cannot read resources, and boto3 is not installed"
    )


class Absent:
    """Finds what is not installed: asked after everything else."""

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


class Later:
    """Finds an installed `boto3`, and imports it once it is used: asked before everything else."""

    def __init__(self):
        self._imported = False

    def find_spec(self, fullname, _path=None, _target=None):
        if fullname != "boto3" or self._imported:
            return None
        installed = importlib.machinery.PathFinder.find_spec(fullname)
        if installed is None or installed.origin is None:
            return None
        # Without a `__path__`: who asks for that, as an import of one of its modules does, gets the library.
        spec = importlib.machinery.ModuleSpec(fullname, self, origin=installed.origin)
        spec.has_location = True
        return spec

    def create_module(self, _spec):
        return None

    def exec_module(self, module):
        def used(name):
            if "__getattr__" in vars(module):
                self._become(module)
            return getattr(module, name)

        # A helper names these in an annotation, which is no use yet.
        module.resource = lambda *args, **named: used("resource")(*args, **named)
        module.client = lambda *args, **named: used("client")(*args, **named)
        module.__getattr__ = used

    def _become(self, module):
        """Put the library in the place of its stand-in, for those too who have that."""
        self._imported = True
        del sys.modules[module.__name__]
        try:
            library = importlib.import_module(module.__name__)
        except BaseException:
            sys.modules[module.__name__] = module
            self._imported = False
            raise
        del module.__getattr__
        vars(module).update(vars(library))


def install():
    """Let the stand-ins be found."""
    if not any(isinstance(finder, Absent) for finder in sys.meta_path):
        sys.meta_path.insert(0, Later())
        sys.meta_path.append(Absent())
