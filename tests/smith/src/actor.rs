//! The body of a function that changes state: a row of steps, each of which changes one thing or looks at one,
//! and adds what it saw to a sum that the function returns.
//!
//! Steps are in bounds as a rule, so that a call gets far, and out of them now and then, so that it stops
//! between two changes.

use wasm_encoder::{BlockType, Function, HeapType, InstructionSink, MemArg, ValType};

use crate::calculator::PARAMS;
use crate::dice::Dice;
use crate::steered::{Mode, Plan, Type, HOST_FILL, HOST_LOG};

/// `is_start`: nothing in it traps by intention.
pub fn body(plan: &Plan, number: u32, ty: Type, is_start: bool, dice: &mut Dice) -> Function {
    let params = ty.params().len() as u32;
    let mut function = Function::new([(5, ValType::I32)]);
    let mut actor = Actor {
        plan,
        number,
        may_trap: !is_start,
        first: params,
        second: params + 1,
        sum: params + 2,
        count: params + 3,
        place: params + 4,
        sink: function.instructions(),
        dice,
    };
    actor.take_params(ty);
    // With calculators to be called as well, there is still to be enough of the rest.
    let more = if plan.calculators.is_empty() { 0 } else { 10 };
    for _ in 0..actor.dice.between(3, 14) + more {
        actor.step();
    }
    actor.give_result(ty);
    function
}

struct Actor<'a, 'b> {
    plan: &'a Plan,
    number: u32,
    may_trap: bool,
    // Locals, all i32.
    first: u32,  // the parameters, as numbers
    second: u32,
    sum: u32,
    count: u32,
    place: u32,
    sink: InstructionSink<'a>,
    dice: &'a mut Dice<'b>,
}

const NEAR: u64 = 0;
const EDGE_ROOM: u32 = 4096;

fn at(offset: u64, memory_index: u32) -> MemArg {
    MemArg { offset, align: 0, memory_index }
}

impl Actor<'_, '_> {
    fn take_params(&mut self, ty: Type) {
        match ty {
            Type::Numbers => {
                self.sink.local_get(0).local_set(self.first).local_get(1).local_set(self.second);
            }
            Type::Wide => {
                self.sink.local_get(0).i32_wrap_i64().local_set(self.first);
                self.sink.local_get(1).i32_trunc_sat_f64_s().local_set(self.second);
            }
            Type::Vector => {
                self.sink.local_get(0).i32x4_extract_lane(0).local_set(self.first);
                self.sink.local_get(1).i32_reinterpret_f32().local_set(self.second);
            }
            _ => {
                self.sink.i32_const(self.dice.bits32() as i32).local_set(self.first);
                if let Some(global) = self.global(ValType::I32, false) {
                    self.sink.global_get(global).local_set(self.second);
                }
            }
        }
    }

    fn give_result(&mut self, ty: Type) {
        match ty {
            Type::Wide => self.sink.local_get(self.sum).f64_convert_i32_s(),
            Type::Vector => self.sink.local_get(self.sum).i32x4_splat(),
            Type::Nothing => &mut self.sink,
            _ => self.sink.local_get(self.sum),
        };
        self.sink.end();
    }

    fn step(&mut self) {
        let has_memory = !self.memories().is_empty();
        let has_table = !self.tables().is_empty();
        if self.may_trap && !self.plan.calculators.is_empty() && self.dice.chance(1, 4) {
            return self.calculate();
        }
        match self.dice.below(25) {
            0..=2 if has_memory => self.store(),
            3 if has_memory => self.store_many(),
            4 if has_memory => self.fill(),
            5 if has_memory => self.copy(),
            6..=8 if has_memory => self.grow(),
            9 if has_memory => self.load(),
            10..=12 => self.set_global(),
            13 if has_table => self.set_element(),
            14 if has_table && !self.plan.plain => self.fill_table(),
            15 if has_table && !self.plan.plain => self.copy_table(),
            16 if has_table => self.grow_table(),
            17 => self.look(),
            // What follows traps where the module happens to be so.
            _ if !self.may_trap => self.set_global(),
            18 if has_memory => self.init(),
            19 if has_table && !self.plan.plain => self.init_table(),
            20..=21 if has_table => self.call_element(),
            22 => self.call(),
            23 => self.trap(),
            _ => self.drop_segment(),
        }
    }

    /// Those that a step may take: with room, where nothing may trap.
    fn memories(&self) -> Vec<u32> {
        let all = &self.plan.memories;
        (0..all.len() as u32).filter(|&i| self.may_trap || all[i as usize].pages_min > 0).collect()
    }

    fn tables(&self) -> Vec<u32> {
        let all = &self.plan.tables;
        (0..all.len() as u32).filter(|&i| self.may_trap || all[i as usize].elements_min > 0).collect()
    }

    // --- values, pushed on the stack -------------------------------------------------------------------

    /// Any i32.
    fn value(&mut self) {
        match self.dice.below(5) {
            0 => self.sink.i32_const(self.dice.bits32() as i32),
            1 => self.sink.local_get(self.first),
            2 => self.sink.local_get(self.second),
            3 => self.sink.local_get(self.first).i32_const(self.dice.bits32() as i32 | 1).i32_mul(),
            _ => self.sink.local_get(self.sum).local_get(self.second).i32_add(),
        };
    }

    fn constant(&mut self, value: u64, is_64: bool) {
        if is_64 {
            self.sink.i64_const(value as i64);
        } else {
            self.sink.i32_const(value as i32);
        }
    }

    /// i32 to an index into a memory or table.
    fn widen(&mut self, is_64: bool) {
        if is_64 {
            self.sink.i64_extend_i32_u();
        }
    }

    fn narrow(&mut self, is_64: bool) {
        if is_64 {
            self.sink.i32_wrap_i64();
        }
    }

    fn memory(&mut self) -> u32 {
        let choices = self.memories();
        self.dice.pick(&choices)
    }

    fn is_64(&self, memory: u32) -> bool {
        self.plan.memories[memory as usize].is_64
    }

    /// Pages of `memory`, as i32.
    fn pages(&mut self, memory: u32) {
        self.sink.memory_size(memory);
        self.narrow(self.is_64(memory));
    }

    /// An address with room for `room` bytes behind it, if the memory has that many at all.
    fn address(&mut self, memory: u32, room: u32) {
        let may_trap = self.may_trap;
        match self.dice.below(40) {
            0..=9 if may_trap || room <= EDGE_ROOM => self.edge(memory),
            // The last bytes.
            10..=13 => {
                self.pages(memory);
                self.sink.i32_const(16).i32_shl().i32_const(room as i32).i32_sub();
            }
            // Beyond the end, half of it: nothing of it may be written.
            14 if may_trap => {
                self.pages(memory);
                self.sink.i32_const(16).i32_shl().i32_const(room as i32 / 2).i32_sub();
            }
            _ => {
                self.value();
                self.pages(memory);
                self.sink.i32_const(16).i32_shl().i32_const(room as i32).i32_sub().i32_rem_u();
            }
        }
        self.widen(self.is_64(memory));
    }

    /// Some bytes before the end of a page, but the last one: there is room for EDGE_ROOM.
    fn edge(&mut self, memory: u32) {
        self.value();
        self.pages(memory);
        self.sink.i32_const(4).i32_shl().i32_const(1).i32_sub().i32_rem_u();
        self.sink.i32_const(1).i32_add().i32_const(12).i32_shl();
        self.sink.i32_const(self.dice.pick(&[1, 2, 3, 4, 7, 8, 15])).i32_sub();
    }

    fn table(&mut self) -> u32 {
        let choices = self.tables();
        self.dice.pick(&choices)
    }

    fn table_is_64(&self, table: u32) -> bool {
        self.plan.tables[table as usize].is_64
    }

    /// An element of a table; 0 if it has none.
    fn element(&mut self, table: u32) {
        let is_64 = self.table_is_64(table);
        self.value();
        self.sink.table_size(table);
        self.narrow(is_64);
        self.sink.local_tee(self.place).local_get(self.place).i32_eqz().i32_add().i32_rem_u();
        self.widen(is_64);
    }

    fn reference(&mut self) {
        if self.dice.chance(1, 4) {
            self.sink.ref_null(HeapType::FUNC);
        } else {
            let function = self.plan.draw_function(self.dice);
            self.sink.ref_func(function);
        }
    }

    fn global(&mut self, ty: ValType, mutable: bool) -> Option<u32> {
        self.plan
            .globals
            .iter()
            .position(|global| global.val_type == ty && (global.mutable || !mutable))
            .map(|index| index as u32)
    }

    /// Adds the i32 on the stack to the sum.
    fn add(&mut self) {
        self.sink.local_get(self.sum).i32_const(31).i32_mul().i32_add().local_set(self.sum);
    }

    // --- memory ----------------------------------------------------------------------------------------

    fn store(&mut self) {
        let memory = self.memory();
        self.address(memory, 16);
        self.value();
        let arg = at(NEAR, memory);
        match self.dice.below(7) {
            0 => self.sink.i32_store8(arg),
            1 => self.sink.i32_store16(arg),
            2 => self.sink.i32_store(arg),
            3 => self.sink.i64_extend_i32_u().i64_const(self.dice.bits64() as i64).i64_xor().i64_store(arg),
            4 => self.sink.f32_reinterpret_i32().f32_store(arg),
            5 => self.sink.f64_convert_i32_s().f64_store(arg),
            _ => self.sink.i32x4_splat().v128_store(arg),
        };
    }

    /// A byte each into many pages.
    fn store_many(&mut self) {
        let memory = self.memory();
        let times = self.dice.pick(&[2, 5, 20, 60]);
        let stride = self.dice.pick(&[1, 64, 4096, 4097, 8192]);
        self.value();
        self.sink.local_set(self.place).i32_const(0).local_set(self.count).loop_(BlockType::Empty);
        self.sink.local_get(self.place).local_get(self.count).i32_const(stride).i32_mul().i32_add();
        self.pages(memory);
        self.sink.i32_const(16).i32_shl().i32_const(1).i32_sub().i32_rem_u();
        self.widen(self.is_64(memory));
        self.sink.local_get(self.count).i32_const(1).i32_add().local_tee(self.count);
        self.sink.i32_store8(at(NEAR, memory));
        self.sink.local_get(self.count).i32_const(times).i32_lt_u().br_if(0).end();
    }

    fn length(&mut self) -> u32 {
        self.dice.pick(&[1, 7, 100, 4096, 5000, 9000])
    }

    fn fill(&mut self) {
        let memory = self.memory();
        let length = self.length();
        if self.plan.has_host && memory == 0 && self.dice.chance(1, 2) {
            // The host takes what lies inside of it.
            self.value();
            self.sink.i32_const(length as i32);
            self.value();
            self.sink.call(HOST_FILL);
            return;
        }
        self.address(memory, length);
        self.value();
        self.constant(length.into(), self.is_64(memory));
        self.sink.memory_fill(memory);
    }

    fn copy(&mut self) {
        let (to, from) = (self.memory(), self.memory());
        let length = self.length();
        self.address(to, length);
        self.address(from, length);
        self.constant(length.into(), self.is_64(to) && self.is_64(from));
        self.sink.memory_copy(to, from);
    }

    fn passive_data(&mut self) -> Option<u32> {
        let all = &self.plan.data;
        let passive = (0..all.len() as u32).filter(|&i| all[i as usize].mode == Mode::Passive);
        let passive = passive.collect::<Vec<_>>();
        (!passive.is_empty()).then(|| self.dice.pick(&passive))
    }

    fn init(&mut self) {
        let Some(segment) = self.passive_data() else { return self.load() };
        let memory = self.memory();
        let length = self.plan.data[segment as usize].bytes.len() as u32;
        self.address(memory, length.max(1));
        self.sink.i32_const(0).i32_const(length as i32).memory_init(memory, segment);
    }

    /// Grows, and writes what was gained, if anything was.
    fn grow(&mut self) {
        let memory = self.memory();
        let delta = self.dice.pick(&[0, 1, 1, 2, 3]);
        let is_64 = self.is_64(memory);
        self.constant(delta, is_64);
        self.sink.memory_grow(memory);
        self.narrow(is_64);
        self.add();
        if self.dice.chance(1, 4) {
            return;
        }
        self.pages(memory);
        self.sink.if_(BlockType::Empty);
        self.pages(memory);
        self.sink.i32_const(16).i32_shl().i32_const(self.dice.pick(&[8, 4095, 4100, 65536])).i32_sub();
        self.widen(is_64);
        self.value();
        self.sink.i32_store(at(NEAR, memory)).end();
    }

    fn load(&mut self) {
        let memory = self.memory();
        self.address(memory, 4);
        self.sink.i32_load(at(NEAR, memory));
        self.add();
    }

    // --- globals ---------------------------------------------------------------------------------------

    fn set_global(&mut self) {
        let globals = &self.plan.globals;
        let mutable = (0..globals.len() as u32).filter(|&i| globals[i as usize].mutable).collect::<Vec<_>>();
        if mutable.is_empty() {
            return;
        }
        let global = self.dice.pick(&mutable);
        if globals[global as usize].val_type == ValType::FUNCREF {
            self.reference();
            self.sink.global_set(global);
            return;
        }
        self.value();
        self.sink.local_get(self.sum).i32_xor();
        match globals[global as usize].val_type {
            ValType::I64 => self.sink.i64_extend_i32_s().i64_const(self.dice.bits64() as i64).i64_add(),
            ValType::F32 => self.sink.f32_reinterpret_i32(),
            ValType::F64 => self.sink.i64_extend_i32_s().i64_const(29).i64_rotl().f64_reinterpret_i64(),
            ValType::V128 => self.sink.i32x4_splat().global_get(global).i64x2_add(),
            _ => &mut self.sink,
        };
        self.sink.global_set(global);
    }

    // --- numbers ---------------------------------------------------------------------------------------

    /// A number of type `ty`: out of a parameter, a global or the bits of an i32.
    fn number(&mut self, ty: ValType) {
        let params = self.plan.actors[self.number as usize].params();
        if let Some(param) = params.iter().position(|&param| param == ty) {
            if self.dice.chance(1, 3) {
                self.sink.local_get(param as u32);
                return;
            }
        }
        if let Some(global) = self.global(ty, false) {
            if self.dice.chance(1, 2) {
                self.sink.global_get(global);
                return;
            }
        }
        self.value();
        match ty {
            ValType::I64 => self.sink.i64_extend_i32_s().i64_const(self.dice.bits64() as i64).i64_mul(),
            ValType::F32 => self.sink.f32_reinterpret_i32(),
            ValType::F64 if self.dice.chance(1, 2) => self.sink.f64_convert_i32_s(),
            ValType::F64 => self.sink.i64_extend_i32_s().i64_const(52).i64_rotl().f64_reinterpret_i64(),
            ValType::V128 => self.sink.i32x4_splat().v128_const(i128::from(self.dice.bits64())).i32x4_add(),
            _ => &mut self.sink,
        };
    }

    /// Calls a calculator.  What it gives goes into a global, a memory or the sum.
    fn calculate(&mut self) {
        let number = self.dice.below(self.plan.calculators.len() as u32);
        let ty = self.plan.calculators[number as usize].results()[0];
        let memory = match self.dice.below(3) {
            0 if !self.memories().is_empty() => Some(self.memory()),
            _ => None,
        };
        if let Some(memory) = memory {
            self.address(memory, 16);
        }
        for param in PARAMS {
            self.number(param);
        }
        self.sink.call(self.plan.first_calculator() + number);
        if let Some(memory) = memory {
            let arg = at(NEAR, memory);
            match ty {
                ValType::I64 => self.sink.i64_store(arg),
                ValType::F32 => self.sink.f32_store(arg),
                ValType::F64 => self.sink.f64_store(arg),
                ValType::V128 => self.sink.v128_store(arg),
                _ => self.sink.i32_store(arg),
            };
            return;
        }
        if let Some(global) = self.global(ty, true) {
            self.sink.global_set(global);
            return;
        }
        match ty {
            ValType::I64 => self.sink.i32_wrap_i64(),
            ValType::F32 => self.sink.i32_reinterpret_f32(),
            ValType::F64 => self.sink.i64_reinterpret_f64().i64_const(32).i64_shr_u().i32_wrap_i64(),
            ValType::V128 => self.sink.i32x4_extract_lane(3),
            _ => &mut self.sink,
        };
        self.add();
    }

    // --- tables ----------------------------------------------------------------------------------------

    fn set_element(&mut self) {
        let table = self.table();
        self.element(table);
        self.reference();
        self.sink.table_set(table);
    }

    /// How many elements: one at any place, or more, which may be beyond the end.
    fn elements(&mut self) -> u32 {
        if self.may_trap && self.dice.chance(1, 8) { self.dice.between(0, 4) } else { 1 }
    }

    fn fill_table(&mut self) {
        let table = self.table();
        let length = self.elements();
        self.element(table);
        self.reference();
        self.constant(length.into(), self.table_is_64(table));
        self.sink.table_fill(table);
    }

    fn copy_table(&mut self) {
        let (to, from) = (self.table(), self.table());
        let length = self.elements();
        self.element(to);
        self.element(from);
        self.constant(length.into(), self.table_is_64(to) && self.table_is_64(from));
        self.sink.table_copy(to, from);
    }

    fn passive_segment(&mut self) -> Option<u32> {
        let all = &self.plan.segments;
        let passive = (0..all.len() as u32).filter(|&i| all[i as usize].mode == Mode::Passive);
        let passive = passive.collect::<Vec<_>>();
        (!passive.is_empty()).then(|| self.dice.pick(&passive))
    }

    fn init_table(&mut self) {
        let Some(segment) = self.passive_segment() else { return self.set_element() };
        let table = self.table();
        let all = self.plan.segments[segment as usize].functions.len() as u32;
        let from = self.dice.below(all);
        let length = self.elements().min(all - from);
        self.element(table);
        self.sink.i32_const(from as i32).i32_const(length as i32).table_init(table, segment);
    }

    fn grow_table(&mut self) {
        let table = self.table();
        let is_64 = self.table_is_64(table);
        let delta = self.dice.between(0, 3);
        self.reference();
        self.constant(delta.into(), is_64);
        self.sink.table_grow(table);
        self.narrow(is_64);
        self.add();
    }

    /// Calls an element if there is one; a leaf of the other type, or an actor, traps.
    fn call_element(&mut self) {
        let table = self.table();
        let is_64 = self.table_is_64(table);
        self.sink.table_size(table);
        self.narrow(is_64);
        self.sink.if_(BlockType::Empty);
        self.element(table);
        self.narrow(is_64);
        self.sink.local_tee(self.count);
        self.widen(is_64);
        self.sink.table_get(table).ref_is_null().i32_eqz().if_(BlockType::Empty);
        self.sink.local_get(self.count);
        self.widen(is_64);
        self.sink.call_indirect(table, Type::Leaf as u32);
        self.add();
        self.sink.end().end();
    }

    // --- the rest --------------------------------------------------------------------------------------

    /// Sizes, a global; tells the host.
    fn look(&mut self) {
        if !self.memories().is_empty() {
            let memory = self.memory();
            self.pages(memory);
            self.add();
        }
        if !self.tables().is_empty() {
            let table = self.table();
            self.sink.table_size(table);
            self.narrow(self.table_is_64(table));
            self.add();
        }
        if let Some(global) = self.global(ValType::F32, false) {
            self.sink.global_get(global).i32_reinterpret_f32();
            self.add();
        }
        if let Some(global) = self.global(ValType::I64, false) {
            self.sink.global_get(global).i32_wrap_i64();
            self.add();
        }
        if self.plan.has_host {
            self.sink.local_get(self.sum).call(HOST_LOG);
        }
    }

    /// An actor before this one: so all calls come to an end.
    fn call(&mut self) {
        let before = (0..self.number).filter(|&i| self.plan.actors[i as usize] == Type::Numbers);
        let before = before.collect::<Vec<_>>();
        if before.is_empty() {
            return self.set_global();
        }
        let callee = self.plan.first_actor() + self.dice.pick(&before);
        self.value();
        self.value();
        self.sink.call(callee);
        self.add();
    }

    /// For one value of a parameter in eight.
    fn trap(&mut self) {
        self.sink.local_get(self.first).i32_const(self.dice.bits32() as i32).i32_xor();
        self.sink.i32_const(7).i32_and().i32_eqz().if_(BlockType::Empty);
        if self.dice.chance(1, 2) {
            self.sink.i32_const(1).i32_const(0).i32_div_u().drop();
        } else {
            self.sink.unreachable();
        }
        self.sink.end();
    }

    /// Dropped: what is initialised from it traps from then on.
    fn drop_segment(&mut self) {
        let dropped = if self.plan.plain || self.dice.chance(1, 2) {
            self.passive_data().map(|segment| self.sink.data_drop(segment)).is_some()
        } else {
            self.passive_segment().map(|segment| self.sink.elem_drop(segment)).is_some()
        };
        if !dropped {
            self.set_global();
        }
    }
}
