#!/usr/bin/env escript
%% -*- erlang -*-
%%! +P 4000000
%% The counters of bench/cells.cc as processes, for comparison: each has a name and a value, hibernates while
%% it has nothing to do, and is found by its name in an ETS table.
%%
%%   counters.erl COUNT SAMPLES
%%
%% Writes: what the whole system takes by its own count, in bytes; what the kernel says of the process (PSS);
%% the nanoseconds of each of SAMPLES messages to a counter at random, until it answered.
-mode(compile).

counter(Name, Value) ->
    receive
        {add, From, By} ->
            From ! {Name, Value + By},
            erlang:hibernate(erlang, apply, [fun counter/2, [Name, Value + By]])
    end.

name_of(N) -> list_to_binary("counter-" ++ integer_to_list(N)).
value_of(N) -> (N * 2654435761) rem 1000000007.

add(Table, Name, By) ->
    [{Name, Pid}] = ets:lookup(Table, Name),
    Pid ! {add, self(), By},
    receive {Name, Value} -> Value end.

pss() ->
    {ok, File} = file:open("/proc/self/smaps_rollup", [read]),
    pss(File).
pss(File) ->
    {ok, Line} = file:read_line(File),
    case io_lib:fread("Pss: ~d kB", Line) of
        {ok, [Kib], _} -> Kib * 1024;
        _ -> pss(File)
    end.

main([Count0, Samples0]) ->
    Count = list_to_integer(Count0),
    Samples = list_to_integer(Samples0),
    Table = ets:new(counters, [set]),
    Before = erlang:memory(total),
    lists:foreach(
        fun(N) ->
            Name = name_of(N),
            ets:insert(Table, {Name, spawn(fun() -> counter(Name, 0) end)}),
            Value = value_of(N),
            Value = add(Table, Name, Value)
        end,
        lists:seq(0, Count - 1)),
    erlang:garbage_collect(),
    io:format("~p~n~p~n", [erlang:memory(total) - Before, pss()]),
    rand:seed(exsss, 1),
    lists:foreach(
        fun(_) ->
            N = rand:uniform(Count) - 1,
            Name = name_of(N),
            Begin = erlang:monotonic_time(nanosecond),
            Value = add(Table, Name, 0),
            End = erlang:monotonic_time(nanosecond),
            Value = value_of(N),
            io:format("~p~n", [End - Begin])
        end,
        lists:seq(1, Samples)).
