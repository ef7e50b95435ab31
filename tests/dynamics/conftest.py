"""One thread for tiny models: more only wait for each other, and other tests run beside these."""

import torch

torch.set_num_threads(1)
