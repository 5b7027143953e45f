"""Words of a sentence -> vectors, each in its context: a bidirectional recurrent network."""

import torch
from torch import nn

from lstn.contract import SPACE


class WordVectors(nn.Module):
    """A sentence (L,) int64 -> (L, SPACE) float32.

    Each word is embedded; a gated recurrent unit (Cho et al. 2014) reads the sentence forwards and another one
    backwards, and both states of a word make its vector (Karpathy and Fei-Fei 2015, section 3.1.2, whose units are not
    gated).

    vocabulary: how many words there are
    """

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, SPACE)
        self.context = nn.GRU(SPACE, SPACE, batch_first=True, bidirectional=True)
        self.vector = nn.Linear(2 * SPACE, SPACE)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        """One sentence (L,) int64, L at least 1 -> (L, SPACE) float32."""
        read, _ = self.context(self.embedding(words)[None])
        vectors: torch.Tensor = self.vector(read[0])
        return vectors

    def several(self, words: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Sentences (N, M) int64 of these lengths (N,) -> (N, M, SPACE) float32; what lies behind an end is nothing."""
        packed = nn.utils.rnn.pack_padded_sequence(
            self.embedding(words), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        states, most = self.context(packed)[0], words.shape[1]
        read, _ = nn.utils.rnn.pad_packed_sequence(states, batch_first=True, total_length=most)
        vectors: torch.Tensor = self.vector(read)
        return vectors
