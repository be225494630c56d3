"""What differs between a GPU and a CPU, and the functions that a printed rule calls."""

__all__ = ["HEADER"]

HEADER = r"""
#ifdef __CUDACC__
#define DEVICE static __device__ __forceinline__
#define CALLED static __device__ CALLED_OR_COPIED
#define SYNC() __syncthreads()
#define THREAD (int(threadIdx.x))
#define BLOCK (int(blockIdx.x))
#define INFINITY __int_as_float(0x7f800000)
DEVICE float quick_exp(float x) { return __expf(x); }
DEVICE float across(float x, int lanes) { return __shfl_xor_sync(0xffffffffu, x, lanes); }
#define IN_SHARED(pointer) __builtin_assume(__isShared(pointer))
#if LANES == 1
#define SYNC_TEAM() __syncthreads()
#else
#define SYNC_TEAM() __syncwarp()
#define SYNC_CLUB() asm volatile("bar.sync %0, %1;" ::"r"(1 + THREAD / (32 * JOINED)), "n"(32 * JOINED) : "memory")
#endif
#else
#include <cmath>
#define DEVICE static inline
#define CALLED static
#define SYNC()
#define SYNC_TEAM()
#define IN_SHARED(pointer)
#define THREAD 0
struct float2 { float x, y; };
struct float4 { float x, y, z, w; };
static inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
using std::fmaf; using std::fmaxf;
DEVICE float quick_exp(float x) { return std::exp(x); }
#endif
#define UNROLL _Pragma("unroll")

template <typename T> DEVICE T ratio_(T a, T b) { return a == T(0) ? T(0) : a / b; }
template <typename T> DEVICE T sign_(T a) { return T(a > T(0)) - T(a < T(0)); }
DEVICE float absolute_(float a) { return fabsf(a); }
DEVICE float sqrt_(float a) { return sqrtf(a); }
DEVICE float exp_(float a) { return expf(a); }
DEVICE float log_(float a) { return logf(a); }
DEVICE float tanh_(float a) { return tanhf(a); }
DEVICE float power_(float a, float b) { return powf(a, b); }
DEVICE double absolute_(double a) { return fabs(a); }
DEVICE double sqrt_(double a) { return sqrt(a); }
DEVICE double exp_(double a) { return exp(a); }
DEVICE double log_(double a) { return log(a); }
DEVICE double tanh_(double a) { return tanh(a); }
DEVICE double power_(double a, double b) { return pow(a, b); }
template <typename T> DEVICE T maximum_(T a, T b) { return a > b || a != a ? a : b; }
template <typename T> DEVICE T minimum_(T a, T b) { return a < b || a != a ? a : b; }
"""
"""The functions that the printed rule calls (see `printer.FUNCTIONS`), and what differs between a GPU and a CPU."""
