// The kernels for one instruction set; compiled with its flags. Everything but the table has internal linkage, so that
// the linker cannot replace a function of the baseline by a copy that needs these instructions.
#include "lanes_avx512.h"
#include "sm3_panel.h"
#include "smmf_panel.h"
#include "probe.h"

const Kernels kernels_avx512 = {"avx512", sm3_panel, smmf_panel, sm3_combine, smmf_combine, probe};
