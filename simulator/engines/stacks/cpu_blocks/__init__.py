"""The building blocks of the fused CPU kernel of stacks, as Python for Numba: each forward pass with its backward pass.

One call works on instances, one after the other, and on each chunk of the data of an instance. A *column* of a chunk is a token,
and an array has a row for each number of a token: `a[at + row * pitch + column]`. The columns of a position follow one after the
other, so a vector holds the same position of several sequences. Every operation but two is then the same on all lanes, with the
weights of the instance spread over them: products, norms, GELU, softmax and also attention. The two are the gradient of a matrix,
which is a sum over columns (`add_four`), and tables, which are read and written column by column.

So an instance needs no other one to fill a vector, and what it works on (its parameters, gradient and the activations of a
chunk) is in the caches. Of a product 4 rows x 2 vectors are accumulated in registers, of the gradient of a matrix 2 x 4 entries.

The kernel (`kernel`) is the same for every model: it runs a list of blocks with the places of their arrays (`cpu_run` writes it),
of which each number is a size or a place in `a` (activations), `w` (parameters) or `g` (gradient). So there is one to compile for
each number type. Every other module has the source of some blocks, and how the kernel calls them (`CALLS`: `o` is the line of the
list of blocks). The definitions are those of `models/transformer.py`, `models/mlp.py` and `models/base.py`.
"""
