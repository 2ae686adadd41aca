"""Data models: common names for the fields of many log types, by path or by a function."""

from .exceptions import PantherError
from .json_path import parse

__all__ = ["DataModel"]


class DataModel:
    """The mappings of one log type: `paths` by name, and `methods` (functions of the model's file)."""

    def __init__(self, data_model_id, mappings, module=None):
        self.data_model_id = data_model_id
        self.paths = {}
        self.methods = {}
        for mapping in mappings:
            name = mapping.get("name")
            if not name:
                raise PantherError(f"DataModel [{data_model_id}] is missing required field: [name]")
            if mapping.get("path"):
                self.paths[name] = parse(mapping["path"])
            elif mapping.get("method"):
                method = getattr(module, mapping["method"], None)
                if not callable(method):
                    raise PantherError(
                        f"DataModel [{data_model_id}] is missing method named [{mapping['method']}]"
                    )
                self.methods[name] = method
            else:
                raise PantherError(
                    f"DataModel [{data_model_id}] is missing a field or method for [{name}]"
                )
