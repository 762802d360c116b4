#pragma once

// What an embedder includes: the names of Spore's public C++ interface.  docs/embedding.md shows its use.

#include "spore/base/status.h"
#include "spore/host/functions.h"
#include "spore/host/instance.h"
#include "spore/host/wasi.h"
#include "spore/runtime/runtime.h"

namespace spore {

using cell::AcquireOptions;
using cell::CellFunction;
using cell::CellId;
using cell::CellKind;
using cell::Cells;
using cell::CellsOptions;
using cell::CellUse;
using cell::CleanFunction;
using cell::Lease;
using cell::PoolOptions;
using engine::Canceller;
using engine::GuestPtr;
using engine::Limits;
using engine::Tier;
using engine::trap_info;
using engine::TrapKind;
using host::Caller;
using host::Function;
using host::HostFunctions;
using host::Instance;
using host::ScratchText;
using host::Signature;
using host::Value;
using host::ValueType;
using host::Wasi;
using host::WasiConfig;
using host::WasiDirectory;
using host::WasiOptions;
using host::WasiState;
using runtime::InstanceOptions;
using runtime::Module;
using runtime::ModuleOptions;
using runtime::Runtime;
using runtime::RuntimeOptions;

}  // namespace spore
