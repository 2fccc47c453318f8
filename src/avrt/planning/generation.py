"""The stages that read clips and ask models: their calls, tokens, hours and files.

Nothing is read but the packaged prompts.

The decision to question: where a model's replies were never measured, its prompt is counted from
the settings (frames, pixels, seconds of sound) and from the words of its prompt file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from avrt.config import MediaConfig
from avrt.errors import ConfigError
from avrt.planning.arithmetic import (
    Gpu,
    Model,
    call_gpu_s,
    hours_of,
    rows_in_flight,
    usable_gpus,
)
from avrt.planning.asked import Asked
from avrt.planning.rates import Rates
from avrt.planning.rows import Stage, Store
from avrt.prompts import load_prompt
from avrt.types import Given

__all__ = ["Generation", "Size", "gpu_of", "media_tokens"]

SOUND_S = 10.0
"""Where `media.max_audio_s` is null."""


def gpu_of(rates: Rates) -> Gpu:
    """The card of the plan, with the shares of it that are reached."""
    return Gpu(
        rates.get("gpu.memory_gb") * rates.get("gpu.memory_share"),
        rates.get("gpu.tflops") * rates.get("gpu.compute_share"),
        rates.get("gpu.tb_per_s") * rates.get("gpu.bandwidth_share"),
    )


def media_tokens(rates: Rates, media: MediaConfig, given: Given, per_frame: int = 1) -> float:
    """Tokens of the media of a prompt; `per_frame`: frames that a model puts into one.

    frames / per_frame x largest picture / pixels per token + seconds of sound x tokens per second
    """
    tokens = 0.0
    if "v" in given:
        pixels = media.max_pixels / rates.get("frame.pixels_per_token")
        tokens += media.n_frames / per_frame * pixels
    if "a" in given:
        tokens += (media.max_audio_s or SOUND_S) * rates.get("sound.tokens_per_s")
    return tokens


@dataclass(frozen=True)
class Size:
    """How much a run reads, and about how much of that it asks its teachers."""

    clips: int
    samples: float
    asked: float
    """Samples."""


class Generation:
    """prepare, trace, merge, judge, build and eval of so many clips on so many GPUs."""

    def __init__(
        self,
        rates: Rates,
        media: MediaConfig,
        asked: Sequence[Asked],
        benchmarks: Sequence[tuple[float, set[Given]]],
        size: Size,
        gpus: int,
    ) -> None:
        """`benchmarks`: the items of each, and the modalities in which they are asked."""
        self._rates, self._media, self._asked = rates, media, asked
        self._size, self._gpus = size, gpus
        self.n_merged = size.asked * rates.get("kept.merged")
        self.n_dataset = self.n_merged * rates.get("kept.dataset")
        self._asking = {stage: [a for a in asked if a.stage == stage] for stage in ASKING}
        self._benchmarks = benchmarks

    def prepare(self) -> Stage:
        """clips x core seconds of reading and probing a file."""
        with self._rates.noted() as used:
            core_s = self._size.clips * self._rates.get("clip.probe_core_s")
            return self._on_cores("prepare", core_s, used)

    def build(self) -> Stage:
        """samples x core seconds of gates and tables."""
        with self._rates.noted() as used:
            core_s = self._size.samples * self._rates.get("sample.build_core_s")
            return self._on_cores("build", core_s, used)

    def _on_cores(self, name: str, core_s: float, used: Iterable[str]) -> Stage:
        cores, hours = self._gpus * self._rates.get("gpu.cores"), core_s / 3600
        money = hours * self._rates.get("core.price")
        return Stage(name, core_hours=hours, hours=hours / cores, money=money, rates=tuple(used))

    def calls(self) -> Iterator[Stage]:
        """trace, merge and judge, a row for each model."""
        for stage in ("trace", "merge", "judge"):
            for each in self._asking[stage]:
                yield self._ask(each)

    def evaluations(self) -> Iterator[Stage]:
        """eval, a row for each model."""
        for each in self._asking["eval"]:
            yield self._ask(each)

    def _n_calls(self, each: Asked) -> float:
        """asked samples x k of a teacher, merged samples of the merger, merged samples x votes of a
        judge; items x modalities that set and model have x k in an evaluation.
        """
        if each.stage == "eval":
            n = sum(n * len(self._givens(each, givens)) for n, givens in self._benchmarks)
        else:
            n = self._size.asked if each.stage == "trace" else self.n_merged
        return n * each.n_answers

    def _givens(self, each: Asked, givens: set[Given]) -> set[Given]:
        return givens if each.given is None else givens & {each.given}

    def _all_given(self, each: Asked) -> list[Given]:
        """The media of its calls, each sort once."""
        if each.stage != "eval":
            return [each.given or "av"]
        asked = [self._givens(each, givens) for _, givens in self._benchmarks]
        return sorted({given for givens in asked for given in givens}) or ["av"]

    def _ask(self, each: Asked) -> Stage:
        """A model's calls: GPU hours = calls x GPU seconds of one / 3,600."""
        rates, n_calls, given = self._rates, self._n_calls(each), self._all_given(each)
        with rates.noted() as used:
            reply = self._reply_tokens(each)
            prompt = self._prompt_tokens(each, given)
            core_s = n_calls * rates.get("call.core_s")
            for half, rate in (("v", "frames.core_s"), ("a", "sound.core_s")):
                share = sum(half in one for one in given) / len(given)
                core_s += n_calls * share * rates.get(rate) if share else 0.0
            no_gpu = "hosted" if each.is_hosted else "" if each.n_gpus else "scripted"
            gpu_s, hours = 0.0, core_s / 3600 / (self._gpus * rates.get("gpu.cores"))
            if each.is_hosted:
                money = self._hosted_price(each, n_calls * prompt, n_calls * reply)
            elif not each.n_gpus:
                money = core_s / 3600 * rates.get("core.price")
            else:
                gpus = usable_gpus(self._gpus, each.n_gpus)
                if not gpus:
                    raise ConfigError(
                        f"--gpus {self._gpus}: {each.name} ({each.model}) needs {each.n_gpus} GPUs "
                        "for one server; plan with as many, or give it a smaller one in "
                        f"{each.name}.engine.serve"
                    )
                gpu_s = n_calls * self._call_gpu_s(each, prompt, reply)
                hours = hours_of(gpu_s, core_s, gpus, rates.get("gpu.cores"))
                money = hours * self._gpus * rates.get("gpu.price")
            return Stage(
                each.stage if each.stage == "merge" else f"{each.stage} {each.role}",
                *(n_calls, n_calls * prompt, n_calls * reply, gpu_s / 3600, core_s / 3600),
                *(hours, money),
                no_gpu=no_gpu,
                rates=tuple(used),
            )

    def _reply_tokens(self, each: Asked) -> float:
        """As stated for the model, at most the longest completion."""
        rate = f"{each.name}.reply_tokens"
        if each.engine.kind == "scripted":
            return self._rates.get(rate) if self._rates.has(rate) else 0.0
        if each.sizes == "student" and not self._rates.has(rate):
            return min(self._rates.get("eval.reply_tokens"), each.max_new_tokens)
        return min(self._rates.get(rate), each.max_new_tokens)

    def _prompt_tokens(self, each: Asked, given: Sequence[Given]) -> float:
        """The prompt's text, a question, the media, and the texts of others that it quotes."""
        rates = self._rates
        if each.engine.kind == "scripted" and not rates.has(f"{each.name}.prompt_tokens"):
            return 0.0

        def reckon() -> tuple[float, str]:
            media = [media_tokens(rates, self._media, one) for one in given]
            tokens = self._text_tokens(each) + sum(media) / len(media)
            return tokens, "words of the prompt, question, media and texts that it quotes"

        return rates.get(f"{each.name}.prompt_tokens", reckon)

    def _text_tokens(self, each: Asked) -> float:
        rates = self._rates
        name = "student" if each.prompt in ("official", "direct") else each.prompt
        template = load_prompt(name)
        words = len(f"{template.system or ''} {template.user}".split())
        tokens = words * rates.get("text.tokens_per_word") + rates.get("question.tokens")
        if each.stage in ("merge", "judge"):
            for teacher in self._asking["trace"]:
                if teacher.given != "none":
                    tokens += self._quoted_tokens(teacher, each.stage)
        if each.stage == "judge":
            tokens += sum(self._reply_tokens(merger) for merger in self._asking["merge"])
        return tokens

    def _quoted_tokens(self, teacher: Asked, stage: str) -> float:
        """What the merger reads of a teacher; a judge reads the whole reply."""
        reply = self._reply_tokens(teacher)
        if stage == "merge" and teacher.hides_thought:
            return min(reply, self._rates.get("reply.after_thought"))
        return reply

    def _call_gpu_s(self, each: Asked, prompt: float, reply: float) -> float:
        rates, sizes = self._rates, each.sizes
        rate = f"{each.name}.gpu_s"
        if rates.has(rate):
            return rates.get(rate)
        parameters = rates.get(f"{sizes}.parameters_b")
        active = rates.get(f"{sizes}.active_b", lambda: (parameters, "all parameters"))
        cache = rates.get(f"{sizes}.cache_kb", lambda: (150.0, "assumed of a model of 8 B"))
        model, gpu = Model(parameters, active, cache, each.n_gpus), gpu_of(rates)
        rows = rows_in_flight(model, gpu, prompt + reply, each.most_rows)
        if not rows:
            raise ConfigError(
                f"{each.name}: {each.model} has {model.weights_gb:.0f} GB of weights, and its "
                f"server has {each.n_gpus} GPU{'s' * (each.n_gpus > 1)} with "
                f"{gpu.memory_gb * each.n_gpus:.0f} GB for it; set --tensor-parallel-size in "
                f"{each.name}.engine.serve, or a larger card with --rate gpu.memory_gb=141"
            )
        is_slow = each.engine.kind == "transformers"
        least_s = rates.get("transformers.step_s") if is_slow else 0.0
        gpu_s = call_gpu_s(model, gpu, (prompt, reply), rows, least_s)
        return rates.get(
            rate, lambda: (gpu_s, f"{rows} replies at a time, at the speed of the memory")
        )

    def _hosted_price(self, each: Asked, prompt: float, reply: float) -> float:
        """Tokens x the prices of a million of them."""
        prompt_price = self._rates.get(f"{each.name}.prompt_price")
        return (prompt * prompt_price + reply * self._rates.get(f"{each.name}.reply_price")) / 1e6

    def stores(self) -> Iterator[Store]:
        """The files of generation and evaluation.

        media: clips x size. payloads: clips of asked samples x (frames + sound) of the teachers
        that servers answer. ledger: calls x (overhead + bytes of prompt and reply). traces and
        dataset: bytes of the replies, packed; the dataset holds them once more.
        """
        with self._rates.noted() as used:
            yield Store("media", self._size.clips * self._rates.get("clip.mb") / 1e3, tuple(used))
        share = self._size.asked / self._size.samples
        sent = {half for each in self._asking["trace"] if each.engine.takes_encoded
                for half in each.given or ""}  # fmt: skip
        with self._rates.noted() as used:
            gb = self._size.clips * share * self._payload_mb(sent) / 1e3
            yield Store("payloads", gb, tuple(used))
        with self._rates.noted() as used:
            yield Store("ledger", self._ledger_gb(), tuple(used))
        with self._rates.noted() as used:
            rows = self._size.clips * self._rates.get("clip.rows_kb")
            rows += self._size.samples * self._rates.get("sample.rows_kb")
            yield Store("samples", rows / 1e6, tuple(used))
        for name in ("traces", "dataset"):
            with self._rates.noted() as used:
                kb = self._rates.get(f"sample.{name}_kb", self._packed_kb)
                yield Store(name, self._size.asked * kb / 1e6, tuple(used))

    def _payload_mb(self, sent: set[str]) -> float:
        rates, mb = self._rates, 0.0
        if "v" in sent:
            n = self._media.n_frames
            mb += rates.get("clip.frames_mb", lambda: (n * rates.get("frame.mb"), f"{n} frames"))
        if "a" in sent:
            s = self._media.max_audio_s or SOUND_S
            mb += rates.get(
                "clip.sound_mb", lambda: (s * rates.get("sound.mb_per_s"), f"{s:g} s of sound")
            )
        return mb

    def _ledger_gb(self) -> float:
        rates = self._rates
        if rates.has("call.stored_kb"):
            return sum(map(self._n_calls, self._asked)) * rates.get("call.stored_kb") / 1e6
        bytes_ = 0.0
        for each in self._asked:
            tokens = self._text_tokens(each) + self._reply_tokens(each)
            stored = tokens * rates.get("text.bytes_per_token")
            bytes_ += self._n_calls(each) * (stored + 1e3 * rates.get("call.ledger_kb"))
        return bytes_ / 1e9

    def _packed_kb(self) -> tuple[float, str]:
        """Bytes of all replies about a sample x the share that packing leaves."""
        asked = [each for each in self._asked if each.stage != "eval"]
        tokens = sum(self._n_calls(each) * self._reply_tokens(each) for each in asked)
        tokens /= self._size.asked
        packed = self._rates.get("text.bytes_per_token") * self._rates.get("text.packed")
        return tokens * packed / 1e3, "the replies about a sample, packed"


ASKING = ("trace", "merge", "judge", "eval")
"""Stages that ask models."""
