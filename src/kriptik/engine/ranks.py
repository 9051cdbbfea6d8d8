"""Processes of one run, as torchrun starts them (RANK, WORLD_SIZE, LOCAL_RANK). One process: nothing to join."""

import os

import torch
import torch.distributed as dist


def rank() -> int:
    """This process's number; 0 writes and reports."""
    return int(os.environ.get("RANK", "0"))


def world() -> int:
    """Processes of this run."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def device() -> torch.device:
    """Where this process keeps its tensors."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


def join() -> None:
    """Meet the other processes before anything is loaded: NCCL on GPUs, gloo on CPUs. Once; alone it does nothing."""
    if world() == 1 or dist.is_initialized():
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(device())
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
