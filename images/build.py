#!/usr/bin/env python3
"""build.py: container images as tarballs, from files that are already there.

It needs no container engine, no registry and no root, and it compiles nothing. An image is one layer;
the same input gives the same bytes (times are 0, entries are sorted, nothing is compressed). The
tarball is an OCI layout that is a `docker save` archive as well, so `ctr`, `docker load`, `podman
load` and `kind load image-archive` all take it.

Keys of an image in images.toml:
  description   one line, for people
  tag           default: the version of the workspace
  files         path in the image -> where it comes from (relative: beside images.toml)
  text          path in the image -> what is in the file
  elf           programs from {debian}, each with the shared libraries it needs
  static        files that must be static binaries
  applets       a busybox, which gets a link for each of its applets beside it
  folders       empty folders that everybody may write to
  accounts      user name -> id, for /etc/passwd and /etc/group (a /tmp comes with them)
  capabilities  path -> what the file's process is permitted to have
  user, entrypoint, cmd, env
  largest_mb    the build fails when the image is larger
  on_request    built only when --only names it
"""

import argparse
import hashlib
import io
import json
import os
import stat
import struct
import subprocess
import sys
import tarfile
from pathlib import Path

try:
    import tomllib
except ModuleNotFoundError:
    sys.exit(f"build.py: needs Python 3.11 or later (for tomllib), this is {sys.version.split()[0]}")

KEYS = set(
    "description tag files text elf static applets folders accounts capabilities user entrypoint cmd env largest_mb on_request".split()
)
# Bits from linux/capability.h, for the few that our programs can use.
CAPABILITY_BITS = {"net_bind_service": 10, "net_admin": 12, "net_raw": 13}
# Revision 2 of struct vfs_cap_data; the lowest bit, left clear, would make the set effective at exec.
CAPABILITY_REVISION = 0x02000000
ARCHITECTURES = {62: "amd64", 183: "arm64"}  # ELF's e_machine -> OCI's name
EPOCH = "1970-01-01T00:00:00Z"


class Problem(Exception):
    """Something that the caller can put right; its text says how."""


# --- ELF: whether a program is static, and which libraries it needs ----------------------------------


class Elf:
    """The little that is needed from a 64-bit little-endian ELF file."""

    PT_LOAD, PT_DYNAMIC, PT_INTERP = 1, 2, 3
    DT_NEEDED, DT_STRTAB = 1, 5

    def __init__(self, name, data):
        if data[:6] != b"\x7fELF\x02\x01":
            raise Problem(f"{name} is not a 64-bit little-endian ELF file")
        self.data = data
        self.architecture = ARCHITECTURES.get(struct.unpack_from("<H", data, 18)[0])
        if self.architecture is None:
            raise Problem(f"{name} is for a processor that images are not made for")
        table, size, count = (struct.unpack_from(form, data, at)[0] for form, at in (("<Q", 32), ("<H", 54), ("<H", 56)))
        # (type, offset in the file, address in memory, size in the file)
        self.segments = []
        for at in range(table, table + size * count, size):
            kind, _, offset, address, _, length = struct.unpack_from("<IIQQQQ", data, at)
            self.segments.append((kind, offset, address, length))

    def interpreter(self):
        for kind, offset, _, length in self.segments:
            if kind == self.PT_INTERP:
                return self.data[offset : offset + length].rstrip(b"\0").decode()
        return None

    def needed(self):
        """The names of the libraries that it asks the loader for."""
        entries = [
            struct.unpack_from("<qQ", self.data, at)
            for kind, offset, _, length in self.segments
            if kind == self.PT_DYNAMIC
            for at in range(offset, offset + length, 16)
        ]
        strings = next((self._offset(value) for tag, value in entries if tag == self.DT_STRTAB), 0)
        names = (strings + value for tag, value in entries if tag == self.DT_NEEDED)
        return [self.data[at : self.data.index(b"\0", at)].decode() for at in names]

    def _offset(self, wanted):
        for kind, offset, address, length in self.segments:
            if kind == self.PT_LOAD and address <= wanted < address + length:
                return wanted - address + offset
        raise Problem("an ELF file whose string table lies in no segment")


class DebianRoot:
    """Unpacked Debian packages, in which absolute links mean the root itself and not this machine."""

    def __init__(self, root):
        self.root = root

    def resolve(self, path):
        """The real file behind a path, or None. /lib is looked for in /usr/lib as well, and so on: the
        links that make them one are in a package that isn't unpacked."""
        return self._follow(path) or self._follow("/usr" + path)

    def _follow(self, path):
        for _ in range(40):
            link = self._first_link(path)
            if link is None:
                found = self.root / path.lstrip("/")
                return found if found.is_file() else None
            path = link
        raise Problem(f"too many links below {self.root}: {path}")

    def _first_link(self, path):
        """The path with its first symbolic link replaced, or None when there is none."""
        parts = path.strip("/").split("/")
        for number in range(1, len(parts) + 1):
            here = self.root.joinpath(*parts[:number])
            if here.is_symlink():
                target = os.path.join("/", *parts[: number - 1], os.readlink(here), *parts[number:])
                return os.path.normpath(target)
        return None

    def program_with_libraries(self, path):
        """Path in the image -> file, for a program, its loader and all that they need."""
        program = self.resolve(path)
        if program is None:
            raise Problem(f"{path} is not in {self.root}")
        files = {path: program}
        waiting = [Elf(path, program.read_bytes())]
        loader = waiting[0].interpreter()
        if loader is None:
            return files
        files[loader] = self.resolve(loader)
        if files[loader] is None:
            raise Problem(f"{path}'s loader {loader} is not in {self.root}")
        while waiting:
            for name in waiting.pop().needed():
                folder, library = self._library(name, loader)
                if f"{folder}/{name}" not in files:
                    files[f"{folder}/{name}"] = library
                    waiting.append(Elf(name, library.read_bytes()))
        return files

    def _library(self, name, loader):
        triplet = {"x86-64": "x86_64-linux-gnu", "aarch64": "aarch64-linux-gnu"}
        here = next(folder for key, folder in triplet.items() if key in loader)
        for folder in (f"/lib/{here}", "/lib64", "/lib"):
            library = self.resolve(f"{folder}/{name}")
            if library:
                # Where the loader looks without a cache, whichever of its folders Debian has it in.
                return f"/usr/lib/{here}", library
        raise Problem(f"no library {name} in {self.root}")


# --- the layer ---------------------------------------------------------------------------------------


def capability_attribute(names):
    """Linux's file capability, as the xattr that a PAX header carries into the container."""
    permitted = 0
    for name in names:
        if name not in CAPABILITY_BITS:
            raise Problem(f"capability {name!r} is none of {sorted(CAPABILITY_BITS)}")
        permitted |= 1 << CAPABILITY_BITS[name]
    value = struct.pack("<5I", CAPABILITY_REVISION, permitted, 0, 0, 0)
    return {"SCHILY.xattr.security.capability": value.decode("ascii")}


class Layer:
    """Files by path; written as a tar in the order of the paths."""

    def __init__(self):
        self.entries = {}

    def add(self, path, data, mode=0o644, headers=None):
        entry = tarfile.TarInfo(path.strip("/"))
        entry.size, entry.mode, entry.pax_headers = len(data), mode, headers or {}
        self._put(entry, data)

    def add_file(self, path, source, headers=None):
        mode = 0o755 if source.stat().st_mode & stat.S_IXUSR else 0o644
        self.add(path, source.read_bytes(), mode, headers)

    def add_link(self, path, target):
        entry = tarfile.TarInfo(path.strip("/"))
        entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, target, 0o777
        self._put(entry)

    def add_folder(self, path, mode):
        entry = tarfile.TarInfo(path.strip("/"))
        entry.type, entry.mode = tarfile.DIRTYPE, mode
        self._put(entry)

    def _put(self, entry, data=b""):
        parents = entry.name.split("/")[:-1]
        for number in range(1, len(parents) + 1):
            folder = "/".join(parents[:number])
            if folder not in self.entries:
                self.add_folder(folder, 0o755)
        self.entries[entry.name] = (entry, data)

    def tar(self):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for _, (entry, data) in sorted(self.entries.items()):
                archive.addfile(entry, io.BytesIO(data))
        return buffer.getvalue()


def account_files(accounts):
    accounts = {"root": 0, **accounts}
    passwd = "".join(f"{name}:x:{number}:{number}::/:/sbin/nologin\n" for name, number in accounts.items())
    group = "".join(f"{name}:x:{number}:\n" for name, number in accounts.items())
    return {"/etc/passwd": passwd, "/etc/group": group}


def fill_layer(name, image, places):
    """The layer of an image, and the architecture that its programs are for."""
    sources = {}
    for program in image.get("elf", []):
        sources.update(DebianRoot(places.debian()).program_with_libraries(program))
    for path, source in image.get("files", {}).items():
        sources[path] = places.file(name, source)

    layer, architectures = Layer(), set()
    capabilities = image.get("capabilities", {})
    for path, source in sources.items():
        layer.add_file(path, source, capability_attribute(capabilities[path]) if path in capabilities else None)
        data = layer.entries[path.strip("/")][1]
        if data.startswith(b"\x7fELF"):
            elf = Elf(path, data)
            architectures.add(elf.architecture)
            if path in image.get("static", []) and elf.interpreter():
                raise Problem(
                    f"{source} is not a static binary, and there is no C library in the image: "
                    "build it for an explicit --target with -C target-feature=+crt-static"
                )
    for path in image.get("folders", []):
        layer.add_folder(path, 0o1777)
    if "accounts" in image:
        layer.add_folder("/tmp", 0o1777)
        for path, text in account_files(image["accounts"]).items():
            layer.add(path, text.encode())
    for path, text in image.get("text", {}).items():
        layer.add(path, text.encode())
    if "applets" in image:
        busybox = image["applets"]
        listing = subprocess.run([sources[busybox], "--list"], check=True, capture_output=True, text=True).stdout
        for applet in set(listing.split()) - {"busybox"}:
            layer.add_link(str(Path(busybox).with_name(applet)), Path(busybox).name)
    if len(architectures) != 1:
        raise Problem(f"the programs are for {sorted(architectures)}, where one architecture is wanted")
    return layer, architectures.pop()


# --- the archive -------------------------------------------------------------------------------------


def build_image(name, image, places):
    """The bytes of the image's tarball."""
    unknown = set(image) - KEYS
    if unknown:
        raise Problem(f"unknown key {sorted(unknown)}")
    layer, architecture = fill_layer(name, image, places)
    layer = layer.tar()
    largest = image.get("largest_mb")
    if largest and len(layer) > largest * 1_000_000:
        raise Problem(f"the image is {len(layer) / 1e6:.1f} MB, and may be {largest} MB at most")

    tag = image.get("tag", places.version)
    reference = f"localhost/{name}:{tag}"
    labels = {
        "org.opencontainers.image.title": name,
        "org.opencontainers.image.description": image["description"],
        "org.opencontainers.image.version": tag,
    }
    config = {
        "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", *image.get("env", [])],
        "Labels": labels,
        "WorkingDir": "/",
    }
    for key, field in (("user", "User"), ("entrypoint", "Entrypoint"), ("cmd", "Cmd")):
        if key in image:
            config[field] = image[key]
    return archive(reference, tag, architecture, config, labels, layer)


def archive(reference, tag, architecture, config, labels, layer):
    blobs = {}

    def blob(media_type, data):
        digest = hashlib.sha256(data).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = data
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    def document(value):
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()

    oci = "application/vnd.oci.image"
    layer = blob(f"{oci}.layer.v1.tar", layer)
    config = blob(
        f"{oci}.config.v1+json",
        document(
            {
                "architecture": architecture,
                "os": "linux",
                "created": EPOCH,
                "config": config,
                "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
                "history": [{"created": EPOCH, "created_by": "images/build.py"}],
            }
        ),
    )
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{oci}.manifest.v1+json",
        "config": config,
        "layers": [layer],
        "annotations": labels,
    }
    manifest = blob(manifest["mediaType"], document(manifest))
    manifest["platform"] = {"architecture": architecture, "os": "linux"}
    manifest["annotations"] = {"io.containerd.image.name": reference, "org.opencontainers.image.ref.name": tag}
    path = {part["digest"]: "blobs/sha256/" + part["digest"].removeprefix("sha256:") for part in (config, layer)}
    docker = [{"Config": path[config["digest"]], "RepoTags": [reference], "Layers": [path[layer["digest"]]]}]
    blobs["oci-layout"] = document({"imageLayoutVersion": "1.0.0"})
    blobs["index.json"] = document({"schemaVersion": 2, "mediaType": f"{oci}.index.v1+json", "manifests": [manifest]})
    blobs["manifest.json"] = document(docker)

    # A layer has all that a tar of plain files needs.
    files = Layer()
    for name, data in blobs.items():
        files.add(name, data)
    return files.tar()


# --- command line ------------------------------------------------------------------------------------


class Places:
    """Where images.toml's {release}, {kubernetes} and {debian} are on this machine."""

    NEEDS = {
        "release": "build our programs: cargo build --release --target x86_64-unknown-linux-gnu, with +crt-static",
        "kubernetes": "run e2e/cluster/build.sh",
        "debian": "run e2e/cluster/deps.sh",
    }

    def __init__(self, arguments):
        self.here = Path(__file__).resolve().parent
        self.folders = {"release": arguments.release, "kubernetes": arguments.kubernetes, "debian": arguments.debian}
        workspace = tomllib.loads((self.here.parent / "Cargo.toml").read_text())
        self.version = workspace["workspace"]["package"]["version"]

    def debian(self):
        return self._folder("debian")

    def file(self, image, source):
        if not source.startswith("{"):
            return self.here / source
        place, _, rest = source[1:].partition("}")
        found = self._folder(place) / rest.lstrip("/")
        if place == "debian":
            found = DebianRoot(self.debian()).resolve(rest) or found
        if not found.is_file():
            raise Problem(f"{found} is missing; {self.NEEDS[place]}")
        return found

    def _folder(self, place):
        if place not in self.folders:
            raise Problem(f"place {{{place}}} is none of {sorted(self.folders)}")
        folder = self.folders[place]
        if folder is None or not folder.is_dir():
            raise Problem(f"folder {folder} of {{{place}}} is missing; {self.NEEDS[place]}")
        return folder


def write_whole(path, data):
    """All or nothing: a reader never meets half an image."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_bytes(data)
    unfinished.rename(path)


def main():
    parser = argparse.ArgumentParser(description="Builds container images as tarballs; see the head of this file.")
    for place in ("release", "kubernetes", "debian"):
        parser.add_argument(f"--{place}", type=Path, help=f"what {{{place}}} in images.toml stands for")
    parser.add_argument("--out", type=Path, required=True, help="folder for the tarballs")
    parser.add_argument("--only", default="", help="names of images, with commas between")
    arguments = parser.parse_args()

    places = Places(arguments)
    images = tomllib.loads((places.here / "images.toml").read_text())
    usual = [name for name, image in images.items() if not image.get("on_request")]
    names = [name for name in arguments.only.split(",") if name] or usual
    arguments.out.mkdir(parents=True, exist_ok=True)
    problems = []
    for name in names:
        try:
            if name not in images:
                raise Problem(f"there is no such image in images.toml; there are: {', '.join(images)}")
            data = build_image(name, images[name], places)
        except Problem as problem:
            problems.append(f"{name}: {problem}")
            continue
        path = arguments.out / f"{name}.tar"
        write_whole(path, data)
        print(f"{path}  {len(data) / 1e6:.1f} MB")
    for problem in problems:
        print(f"build.py: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
