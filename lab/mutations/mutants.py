"""Mutants of the CUDA kernels: each lacks one synchronisation, or has a weaker one."""

import dataclasses
import hashlib
import re

# What is deleted, with a call's arguments up to its semicolon. An `if` in front of it stays.
DELETED = re.compile(r"(?:ptx::(?:bar_sync|bar_arrive|fence_proxy_async|fence_mbarrier_init|mbarrier_wait|"
                     r"mbarrier_arrive|cp_async_wait|cp_async_commit|cp_async_mbarrier_arrive|bulk_wait|"
                     r"bulk_wait_read|bulk_commit|wgmma_fence|wgmma_commit|wgmma_wait)\b(?!_)|"
                     r"__syncthreads|__syncwarp|__threadfence)(?:<[^;()]*>)?\([^;]*\);")
WAITED = re.compile(r"(ptx::(?:cp_async_wait|bulk_wait|bulk_wait_read|wgmma_wait)<)([^>]*)(>)")
PARITY = re.compile(r"(ptx::mbarrier_wait\([^;]*, )([^;,]*)(\);)")
COUNT = re.compile(r"(ptx::mbarrier_init\([^;]*?, )([^;]*)(\);)")
BYTES = re.compile(r"(ptx::mbarrier_arrive_expect_tx\([^;]*?, )([^;]*)(\);)")

# The rows of the op table that a file's kernels run in; a folder's where a file is not named.
ROWS = {
    "convolution/conv2d_hopper.cu": ("conv2d_bfloat16", "conv2d_dgrad_bfloat16"),
    "convolution/conv2d_wgrad_hopper.cu": ("conv2d_wgrad_bfloat16",),
    "convolution/per_image_bias_grad.cu": ("per_image_bias_grad_*",),
    "convolution": ("conv2d_float32", "conv2d_bfloat16", "conv2d_dgrad_*", "conv2d_wgrad_*"),
    "attention/attention.cu": ("attention_bfloat16", "attention_float32"),
    "attention/attention_backward.cu": ("attention_backward_*",),
    "attention/attention_hopper.cu": ("attention_bfloat16",),
    "attention/attention_backward_hopper.cu": ("attention_backward_bfloat16",),
    "attention": ("attention_*",),
    "norm/group_norm.cu": ("group_norm_float32", "group_norm_bfloat16"),
    "norm/group_norm_backward.cu": ("group_norm_backward_*",),
    "norm": ("group_norm_*",),
    "optimizer": ("norm_float32", "adamw_*"),
    "loss": ("cross_entropy_*",),
    "diffusion": ("normal_*", "q_sample_*", "mse_loss_*", "sampler_step_*"),
    "pointwise": ("*",),
}


@dataclasses.dataclass
class Mutant:
    path: str  # below kernels/cuda
    line: int
    change: str  # in words
    before: str  # the line
    text: str  # of the whole file

    @property
    def name(self):
        """The same for as long as the line and what is done to it stay as they are, wherever in the file it is."""
        return f"{self.path}:{self.line} {self.change}"

    @property
    def digest(self):
        return hashlib.sha256(f"{self.path}\n{self.change}\n{self.text}".encode()).hexdigest()[:16]

    def rows(self):
        return ROWS.get(self.path) or ROWS[self.path.split("/")[0]]


def changes(code):
    """(what is done in words, the line without its comment afterwards) for every way to weaken this line."""
    for match in DELETED.finditer(code):
        yield f"without {match[0]}", code[: match.start()] + "{}" + code[match.end() :]
    for pattern, words, new in ((WAITED, "waits for one group fewer", r"\g<1>(\g<2>) + 1\g<3>"),
                                (PARITY, "waits for the other parity", r"\g<1>(\g<2>) ^ 1\g<3>"),
                                (COUNT, "one arrival more", r"\g<1>(\g<2>) + 1\g<3>"),
                                (COUNT, "one arrival fewer", r"\g<1>(\g<2>) - 1\g<3>"),
                                (BYTES, "announces 16 bytes fewer", r"\g<1>(\g<2>) - 16\g<3>")):
        if pattern.search(code):
            yield words, pattern.sub(new, code, count=1)


def mutants_of(path, text):
    """All mutants of a file. A statement of several lines is not looked into: none of these is one."""
    lines = text.split("\n")
    for i, line in enumerate(lines):
        code, slashes, comment = line.partition("//")
        for words, changed in changes(code):
            after = lines[:i] + [changed + slashes + comment] + lines[i + 1 :]
            yield Mutant(path, i + 1, words, line.strip(), "\n".join(after))


def all_mutants(kernels):
    """Of all files of kernels/cuda but those that define the instructions themselves."""
    for file in sorted(kernels.rglob("*")):
        path = file.relative_to(kernels).as_posix()
        if file.suffix in (".cu", ".h") and not path.startswith(("device/ptx", "runtime/")):
            yield from mutants_of(path, file.read_text(encoding="utf-8"))
