;; A kitchen with everything that the rules treat specially; `behaviour.py` plays it. Changing it changes every hash.
(define (problem probe)
(:domain alfred)
(:objects
  agent1 - agent
  start fridgeplace stoveplace sinkplace tableplace - location
  Fridge_bar_1 StoveBurner_bar_1 StoveBurner_bar_2 Sink_bar_1_bar_SinkBasin DiningTable_bar_1 Microwave_bar_1 - receptacle
  Pan_bar_1 Mug_bar_1 Mug_bar_2 Knife_bar_1 Bread_bar_1 DeskLamp_bar_1 Spoon_bar_1 Statue_bar_1 - object
  FridgeType StoveBurnerType SinkBasinType DiningTableType MicrowaveType - rtype
  PanType MugType KnifeType ButterKnifeType BreadType DeskLampType SpoonType StatueType - otype)
(:init
  (atLocation agent1 start)
  (receptacleAtLocation Fridge_bar_1 fridgeplace) (receptacleType Fridge_bar_1 FridgeType) (openable Fridge_bar_1)
  ;; two receptacles at one place
  (receptacleAtLocation StoveBurner_bar_1 stoveplace) (receptacleType StoveBurner_bar_1 StoveBurnerType)
  (receptacleAtLocation StoveBurner_bar_2 stoveplace) (receptacleType StoveBurner_bar_2 StoveBurnerType)
  (receptacleAtLocation Sink_bar_1_bar_SinkBasin sinkplace) (receptacleType Sink_bar_1_bar_SinkBasin SinkBasinType)
  (receptacleAtLocation DiningTable_bar_1 tableplace) (receptacleType DiningTable_bar_1 DiningTableType)
  (receptacleAtLocation Microwave_bar_1 tableplace) (receptacleType Microwave_bar_1 MicrowaveType) (openable Microwave_bar_1)
  (objectType Pan_bar_1 PanType) (pickupable Pan_bar_1) (cleanable Pan_bar_1) (isReceptacleObject Pan_bar_1)
  (inReceptacle Pan_bar_1 StoveBurner_bar_1) (objectAtLocation Pan_bar_1 stoveplace)
  ;; cool from the start
  (objectType Mug_bar_1 MugType) (pickupable Mug_bar_1) (cleanable Mug_bar_1) (heatable Mug_bar_1) (coolable Mug_bar_1)
  (inReceptacle Mug_bar_1 Fridge_bar_1) (objectAtLocation Mug_bar_1 fridgeplace) (isCool Mug_bar_1)
  (objectType Mug_bar_2 MugType) (pickupable Mug_bar_2) (cleanable Mug_bar_2) (heatable Mug_bar_2) (coolable Mug_bar_2)
  (inReceptacle Mug_bar_2 DiningTable_bar_1) (objectAtLocation Mug_bar_2 tableplace)
  ;; a thing in a thing
  (isReceptacleObject Mug_bar_2) (inReceptacleObject Spoon_bar_1 Mug_bar_2)
  (objectType Spoon_bar_1 SpoonType) (pickupable Spoon_bar_1) (cleanable Spoon_bar_1)
  (inReceptacle Spoon_bar_1 DiningTable_bar_1) (objectAtLocation Spoon_bar_1 tableplace)
  (objectType Knife_bar_1 KnifeType) (pickupable Knife_bar_1) (cleanable Knife_bar_1)
  (inReceptacle Knife_bar_1 DiningTable_bar_1) (objectAtLocation Knife_bar_1 tableplace)
  (objectType Bread_bar_1 BreadType) (pickupable Bread_bar_1) (sliceable Bread_bar_1) (heatable Bread_bar_1)
  (inReceptacle Bread_bar_1 DiningTable_bar_1) (objectAtLocation Bread_bar_1 tableplace)
  (objectType DeskLamp_bar_1 DeskLampType) (toggleable DeskLamp_bar_1)
  (inReceptacle DeskLamp_bar_1 DiningTable_bar_1) (objectAtLocation DeskLamp_bar_1 tableplace)
  ;; nothing takes it: who holds it holds it for ever
  (objectType Statue_bar_1 StatueType) (pickupable Statue_bar_1)
  (inReceptacle Statue_bar_1 DiningTable_bar_1) (objectAtLocation Statue_bar_1 tableplace)
  (canContain FridgeType PanType) (canContain FridgeType MugType) (canContain FridgeType BreadType)
  (canContain StoveBurnerType PanType)
  (canContain SinkBasinType PanType) (canContain SinkBasinType MugType) (canContain SinkBasinType SpoonType)
  (canContain SinkBasinType KnifeType)
  (canContain DiningTableType PanType) (canContain DiningTableType MugType) (canContain DiningTableType SpoonType)
  (canContain DiningTableType KnifeType) (canContain DiningTableType BreadType)
  (canContain MicrowaveType MugType) (canContain MicrowaveType BreadType))
(:goal GOAL))
